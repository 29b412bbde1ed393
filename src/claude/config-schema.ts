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
const WITH_DOCKER = when("enableDocker");

function field(type: ConfigFieldSchema["type"], key: string, label: string, hint?: string): ConfigFieldSchema {
  return { type, key, label, ...(hint !== undefined && { hint }) };
}

function text(key: string, label: string, hint?: string): ConfigFieldSchema {
  return field("text", key, label, hint);
}

function area(key: string, label: string, hint: string): ConfigFieldSchema {
  return field("textarea", key, label, hint);
}

function toggle(key: string, label: string, byDefault: boolean, hint: string): ConfigFieldSchema {
  return { ...field("toggle", key, label, hint), default: byDefault };
}

/** With the default, which its label names. */
function number(key: string, label: string, byDefault: number, hint: string): ConfigFieldSchema {
  return { ...field("number", key, `${label} (${byDefault})`, hint), default: byDefault };
}

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
  text("image", "Image (empty: the server's own)", "With Claude Code in it, for user 1000."),
  text("namespace", "Namespace of the Jobs (empty: the server's own)"),
  text("kubeconfig", "Kubeconfig (empty: the server's service account)", "Absolute path on the server."),
  toggle(
    "environmentProbe",
    "Test with a Job",
    false,
    "The environment test runs a short Job: can the image be pulled, is Claude in it, does the pod reach Paperclip?",
  ),
  text("resources.requests.cpu", "CPU request (1000m)"),
  text("resources.requests.memory", "Memory request (2Gi)"),
  text("resources.limits.cpu", "CPU limit (4000m)"),
  text("resources.limits.memory", "Memory limit (8Gi)"),
  {
    type: "number",
    key: "maxTurnsPerRun",
    label: "Max turns per run (0: no limit)",
    hint: "Limit of agentic turns (--max-turns). The host continues a run that reaches it, twice unless the agent's runtimeConfig.heartbeat.maxTurnContinuation says otherwise.",
  },
  area(
    "mcpServers",
    "MCP servers",
    'JSON such as {"name": {"type": "http", "url": "…"}}. Delivered by a Secret, over /paperclip/.mcp.json.',
  ),
  text("workspaceVolumeClaim", "Workspace volume claim", "A further PersistentVolumeClaim for workspaces."),
  text("workspaceMountPath", "Workspace mount path (/workspace)", "Where that claim is mounted. Absolute."),
  toggle(
    "enableDocker",
    "Docker",
    false,
    "A privileged Docker daemon beside Claude (sidecar, Kubernetes 1.29 or newer).",
  ),
  { ...text("dockerImage", "Docker image (docker:28-dind)"), ...WITH_DOCKER },
  { ...text("dockerCpuLimit", "Docker CPU limit (2)"), ...WITH_DOCKER },
  { ...text("dockerMemoryLimit", "Docker memory limit (2Gi)"), ...WITH_DOCKER },
  toggle(
    "advanced",
    "Advanced settings",
    false,
    "Shows the rest: nodes, labels, kept Jobs, restarts of the server, patience.",
  ),
];

/** Shown when `advanced` is on. */
const ADVANCED_FIELDS: readonly ConfigFieldSchema[] = [
  text(
    "serviceAccountName",
    "Service account of the pods (empty: none)",
    "Without one the pods have no token of the cluster.",
  ),
  area("nodeSelector", "Node selector (empty: the server's own)", "Lines of key=value, or a JSON object. {}: none."),
  area("tolerations", "Tolerations (empty: the server's own)", "A JSON array. []: none."),
  area("labels", "Labels", "Lines of key=value, put on Job and pod."),
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
  area(
    "podPatch",
    "Pod patch",
    'A strategic merge patch of the pod, for what no field covers: {"spec": {"priorityClassName": "low"}}. JSON.',
  ),
  text("kubeContext", "Kubeconfig context (empty: its current one)", "As kubectl's --context."),
  toggle(
    "dangerouslySkipPermissions",
    "Skip permissions (on)",
    true,
    "--dangerously-skip-permissions. Nobody can answer a permission prompt in a Job, so off means that tools are refused.",
  ),
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
  toggle(
    "reattachOrphanedJobs",
    "Adopt orphaned Jobs (on)",
    true,
    "A Job that a restarted server left behind is taken over by the next run of the same task.",
  ),
  toggle(
    "deleteMismatchedOrphans",
    "Delete orphans of other tasks (off)",
    false,
    "Jobs that a restarted server left behind and that the run cannot take over are deleted. Their work is lost. Not with two servers in one namespace: each would delete the other's live runs.",
  ),
  toggle(
    "conversationContinuation",
    "Continue after failures (on)",
    true,
    "Marks failed runs so that the host may go on by itself. Relies on an undocumented key of the host.",
  ),
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
