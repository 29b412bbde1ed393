import type { AdapterConfigSchema, ConfigFieldSchema } from "@paperclipai/adapter-utils";

/**
 * What the host's form shows, in one column and without groups: what operators need comes first, the rest when `advanced` is on, and
 * defaults stand in the labels, since hints show on hover only. The form writes every field on creation: a number without a default
 * as 0, a toggle as false, a select as its first option. So defaults stand here where 0 or false would mean something else, they are
 * those that are in force without the field, and selects start with an empty option. `model, effort, cwd, instructionsFilePath,
 * timeoutSec, graceSec` are the platform's own fields. There must be no `command` key: a host that could not load this adapter
 * would run that command on its own machine.
 */
export function configSchema(): AdapterConfigSchema {
  const advanced = ADVANCED_FIELDS.map((each) => ({ ...each, ...when("advanced") }));
  return { fields: structuredClone([...FIELDS, ...advanced]) };
}

/** The host compares the value as a text. */
const when = (key: string): Pick<ConfigFieldSchema, "meta"> => ({ meta: { visibleWhen: { key, value: "true" } } });
/** With the default, which its label names. */
const number = (key: string, label: string, byDefault: number, hint: string): ConfigFieldSchema => ({
  type: "number",
  key,
  label: `${label} (${byDefault})`,
  default: byDefault,
  hint,
});
const WITH_DOCKER = when("enableDocker");

const FIELDS: readonly ConfigFieldSchema[] = [
  {
    type: "select",
    key: "concurrencyPolicy",
    label: "When another run of this agent is active",
    options: [
      { label: "Wait for its end (default)", value: "" },
      { label: "Wait for its end", value: "wait" },
      { label: "Refuse the new one", value: "block" },
      { label: "Run side by side", value: "parallel" },
    ],
    default: "",
    hint: "The host starts up to 20 runs of an agent at once. Waiting suits runs that share a directory or session, side by side runs with a workspace each. A refused run is started again by the host twice at most.",
  },
  {
    type: "text",
    key: "image",
    label: "Image (empty: the server's own)",
    hint: "With Claude Code in it, for user 1000.",
  },
  { type: "text", key: "namespace", label: "Namespace of the Jobs (empty: the server's own)" },
  {
    type: "text",
    key: "kubeconfig",
    label: "Kubeconfig (empty: the server's service account)",
    hint: "Absolute path on the server.",
  },
  {
    type: "toggle",
    key: "environmentProbe",
    label: "Test with a Job",
    default: false,
    hint: "The environment test runs a short Job: can the image be pulled, is Claude in it, does the pod reach Paperclip?",
  },
  { type: "text", key: "resources.requests.cpu", label: "CPU request (1000m)" },
  { type: "text", key: "resources.requests.memory", label: "Memory request (2Gi)" },
  { type: "text", key: "resources.limits.cpu", label: "CPU limit (4000m)" },
  { type: "text", key: "resources.limits.memory", label: "Memory limit (8Gi)" },
  {
    type: "number",
    key: "maxTurnsPerRun",
    label: "Max turns per run (0: no limit)",
    hint: "Limit of agentic turns (--max-turns). The host continues a run that reaches it, twice unless the agent's runtimeConfig.heartbeat.maxTurnContinuation says otherwise.",
  },
  {
    type: "textarea",
    key: "mcpServers",
    label: "MCP servers",
    hint: 'JSON such as {"name": {"type": "http", "url": "…"}}. Delivered by a Secret, over /paperclip/.mcp.json.',
  },
  {
    type: "text",
    key: "workspaceVolumeClaim",
    label: "Workspace volume claim",
    hint: "A further PersistentVolumeClaim for workspaces.",
  },
  {
    type: "text",
    key: "workspaceMountPath",
    label: "Workspace mount path (/workspace)",
    hint: "Where that claim is mounted. Absolute.",
  },
  {
    type: "toggle",
    key: "enableDocker",
    label: "Docker",
    default: false,
    hint: "A privileged Docker daemon beside Claude (sidecar, Kubernetes 1.29 or newer).",
  },
  { type: "text", key: "dockerImage", label: "Docker image (docker:28-dind)", ...WITH_DOCKER },
  { type: "text", key: "dockerCpuLimit", label: "Docker CPU limit (2)", ...WITH_DOCKER },
  { type: "text", key: "dockerMemoryLimit", label: "Docker memory limit (2Gi)", ...WITH_DOCKER },
  {
    type: "toggle",
    key: "advanced",
    label: "Advanced settings",
    default: false,
    hint: "Shows the rest: nodes, labels, kept Jobs, restarts of the server, patience.",
  },
];

/** Shown when `advanced` is on. */
const ADVANCED_FIELDS: readonly ConfigFieldSchema[] = [
  {
    type: "text",
    key: "serviceAccountName",
    label: "Service account of the pods (empty: none)",
    hint: "Without one the pods have no token of the cluster.",
  },
  {
    type: "textarea",
    key: "nodeSelector",
    label: "Node selector (empty: the server's own)",
    hint: "Lines of key=value, or a JSON object. {}: none.",
  },
  {
    type: "textarea",
    key: "tolerations",
    label: "Tolerations (empty: the server's own)",
    hint: "A JSON array. []: none.",
  },
  {
    type: "textarea",
    key: "labels",
    label: "Labels",
    hint: "Lines of key=value, put on Job and pod.",
  },
  {
    type: "select",
    key: "imagePullPolicy",
    label: "Image pull policy",
    options: [
      { label: "Default (IfNotPresent)", value: "" },
      { label: "IfNotPresent", value: "IfNotPresent" },
      { label: "Always", value: "Always" },
      { label: "Never", value: "Never" },
    ],
    default: "",
  },
  {
    type: "textarea",
    key: "podPatch",
    label: "Pod patch",
    hint: 'A strategic merge patch of the pod, for what no field covers: {"spec": {"priorityClassName": "low"}}. JSON.',
  },
  {
    type: "text",
    key: "kubeContext",
    label: "Kubeconfig context (empty: its current one)",
    hint: "As kubectl's --context.",
  },
  {
    type: "toggle",
    key: "dangerouslySkipPermissions",
    label: "Skip permissions (on)",
    default: true,
    hint: "--dangerously-skip-permissions. Nobody can answer a permission prompt in a Job, so off means that tools are refused.",
  },
  {
    type: "select",
    key: "retainJobs",
    label: "Retain Jobs",
    options: [
      { label: "Default (none)", value: "" },
      { label: "None", value: "false" },
      { label: "Of runs that fail", value: "failed" },
      { label: "All", value: "true" },
    ],
    default: "",
    hint: "Leave Jobs after the run, for debugging, until Kubernetes deletes them (see Keep ended Jobs).",
  },
  number(
    "ttlSecondsAfterFinished",
    "Keep ended Jobs, in seconds",
    86_400,
    "After that many seconds Kubernetes deletes an ended Job that no run has collected and deleted.",
  ),
  {
    type: "toggle",
    key: "reattachOrphanedJobs",
    label: "Adopt orphaned Jobs (on)",
    default: true,
    hint: "A Job that a restarted server left behind is taken over by the next run of the same task.",
  },
  {
    type: "toggle",
    key: "deleteMismatchedOrphans",
    label: "Delete orphans of other tasks (off)",
    default: false,
    hint: "Jobs that a restarted server left behind and that the run cannot take over are deleted. Their work is lost. Not with two servers in one namespace: each would delete the other's live runs.",
  },
  {
    type: "toggle",
    key: "conversationContinuation",
    label: "Continue after failures (on)",
    default: true,
    hint: "Marks failed runs so that the host may go on by itself. Relies on an undocumented key of the host.",
  },
  number(
    "scheduleTimeoutSec",
    "Schedule timeout, in seconds",
    600,
    "How long a pod may wait for a node. A cluster autoscaler takes two to five minutes.",
  ),
  number(
    "imagePullGraceSec",
    "Image pull grace, in seconds",
    30,
    "How long pulling the image may fail before the run does.",
  ),
  number(
    "configErrorGraceSec",
    "Config error grace, in seconds",
    30,
    "How long a missing Secret or ConfigMap key may stay missing before the run fails.",
  ),
  number(
    "apiOutageSec",
    "API outage, in seconds",
    600,
    "How long a run waits for an API server that is away before its agent has started.",
  ),
  number(
    "maxDisruptionRestarts",
    "Restarts after disruptions",
    3,
    "How often a run goes on in its own session on another node after an eviction, a preemption or the loss of its node. Needs a volume that keeps the session. 0: never.",
  ),
  number("keepaliveSec", "Keepalive, in seconds", 300, "Silence after which a log line says that the run lives."),
  number(
    "resultGraceSec",
    "Result grace, in seconds",
    30,
    "A Claude that has said its result and is held by a process that it started is ended after that much silence. Work in the background that it announces has 15 minutes.",
  ),
];
