import type { AdapterConfigSchema, ConfigFieldSchema } from "@paperclipai/adapter-utils";

/**
 * What the host's form shows. It writes every field on creation: a number without a default as 0, a toggle as false, a
 * select as its first option. So defaults stand here where 0 or false would mean something else, and selects start with an
 * empty option. `model, effort, cwd, instructionsFilePath, timeoutSec, graceSec` are the platform's own fields. There must be no
 * `command` key: a host that could not load this adapter would run that command on its own machine.
 */
export function configSchema(): AdapterConfigSchema {
  return { fields: FIELDS.map((each) => structuredClone(each)) };
}

const FIELDS: readonly ConfigFieldSchema[] = [
  {
    type: "number",
    key: "maxTurnsPerRun",
    label: "Max turns per run",
    default: 1000,
    hint: "Limit of agentic turns (--max-turns). 0: no limit.",
  },
  {
    type: "toggle",
    key: "dangerouslySkipPermissions",
    label: "Skip permissions",
    default: true,
    hint: "--dangerously-skip-permissions. Nobody can answer a permission prompt in a Job, so off means that tools are refused.",
  },
  {
    type: "text",
    key: "serviceAccountName",
    label: "Service account",
    hint: "Of the Job's pods. Empty: the namespace's default.",
  },
  { type: "text", key: "namespace", label: "Namespace", hint: "Of the Jobs. Empty: the server's own." },
  { type: "text", key: "image", label: "Image", hint: "With Claude Code in it. Empty: the server's own image." },
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
    type: "text",
    key: "kubeconfig",
    label: "Kubeconfig",
    hint: "Absolute path on the server. Empty: the service account of the server's pod.",
  },
  {
    type: "number",
    key: "ttlSecondsAfterFinished",
    label: "Keep ended Jobs (s)",
    default: 86_400,
    hint: "After that many seconds Kubernetes deletes an ended Job that no run has collected and deleted.",
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
  {
    type: "toggle",
    key: "reattachOrphanedJobs",
    label: "Adopt orphaned Jobs",
    default: true,
    hint: "A Job that a restarted server left behind is taken over by the next run of the same task.",
  },
  { type: "text", key: "resources.requests.cpu", label: "CPU request", hint: "Empty: 1000m." },
  { type: "text", key: "resources.requests.memory", label: "Memory request", hint: "Empty: 2Gi." },
  { type: "text", key: "resources.limits.cpu", label: "CPU limit", hint: "Empty: 4000m." },
  { type: "text", key: "resources.limits.memory", label: "Memory limit", hint: "Empty: 8Gi." },
  {
    type: "textarea",
    key: "nodeSelector",
    label: "Node selector",
    hint: "Lines of key=value, or a JSON object. Empty: the server's own; {}: none.",
  },
  {
    type: "textarea",
    key: "tolerations",
    label: "Tolerations",
    hint: "A JSON array. Empty: the server's own; []: none.",
  },
  { type: "textarea", key: "labels", label: "Labels", hint: "Lines of key=value, put on Job and pod." },
  {
    type: "textarea",
    key: "mcpServers",
    label: "MCP servers",
    hint: 'JSON such as {"name": {"type": "http", "url": "…"}}. Delivered by a Secret, over /paperclip/.mcp.json.',
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
    label: "Kubeconfig context",
    hint: "As kubectl's --context. Empty: the kubeconfig's current context.",
  },
  {
    type: "toggle",
    key: "enableDocker",
    label: "Docker",
    default: false,
    hint: "A privileged Docker daemon beside Claude (sidecar, Kubernetes 1.29 or newer).",
  },
  {
    type: "text",
    key: "dockerImage",
    label: "Docker image",
    hint: "Empty: docker:28-dind.",
    meta: { visibleWhen: { key: "enableDocker", value: "true" } },
  },
  {
    type: "text",
    key: "dockerCpuLimit",
    label: "Docker CPU limit",
    hint: "Empty: 2.",
    meta: { visibleWhen: { key: "enableDocker", value: "true" } },
  },
  {
    type: "text",
    key: "dockerMemoryLimit",
    label: "Docker memory limit",
    hint: "Empty: 2Gi.",
    meta: { visibleWhen: { key: "enableDocker", value: "true" } },
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
    label: "Workspace mount path",
    hint: "Where that claim is mounted. Absolute.",
  },
  {
    type: "select",
    key: "concurrencyPolicy",
    label: "When another run of the agent is active",
    options: [
      { label: "Default (wait for its end)", value: "" },
      { label: "Wait for its end", value: "wait" },
      { label: "Refuse the new one", value: "block" },
      { label: "Run side by side", value: "parallel" },
    ],
    default: "",
    hint: "Current hosts start up to 20 runs of an agent at once. Waiting suits runs that share a directory or session, side by side runs with a workspace each. A refused run is started again by the host twice at most.",
  },
  {
    type: "number",
    key: "scheduleTimeoutSec",
    label: "Schedule timeout (s)",
    default: 600,
    hint: "How long a pod may wait for a node. A cluster autoscaler takes two to five minutes.",
  },
  {
    type: "number",
    key: "imagePullGraceSec",
    label: "Image pull grace (s)",
    default: 30,
    hint: "How long pulling the image may fail before the run does.",
  },
  {
    type: "number",
    key: "configErrorGraceSec",
    label: "Config error grace (s)",
    default: 30,
    hint: "How long a missing Secret or ConfigMap key may stay missing before the run fails.",
  },
  {
    type: "number",
    key: "apiOutageSec",
    label: "API outage (s)",
    default: 600,
    hint: "How long a run waits for an API server that is away before its agent has started.",
  },
  {
    type: "number",
    key: "keepaliveSec",
    label: "Keepalive (s)",
    default: 300,
    hint: "Silence after which a log line says that the run lives.",
  },
  {
    type: "number",
    key: "resultGraceSec",
    label: "Result grace (s)",
    default: 30,
    hint: "A Claude that has said its result and is held by a process that it started is ended after that much silence. Work in the background that it announces has 15 minutes.",
  },
  {
    type: "toggle",
    key: "deleteMismatchedOrphans",
    label: "Delete orphans of other tasks",
    default: false,
    hint: "Jobs that a restarted server left behind and that the run cannot take over are deleted. Their work is lost. Not with two servers in one namespace: each would delete the other's live runs.",
  },
  {
    type: "toggle",
    key: "conversationContinuation",
    label: "Continue after failures",
    default: true,
    hint: "Marks failed runs so that the host may go on by itself. Relies on an undocumented key of the host.",
  },
];
