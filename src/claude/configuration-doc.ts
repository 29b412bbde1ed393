/** Served to agents that configure other agents. */
// Its type is not the text itself, which the declarations would repeat.
export const agentConfigurationDoc: string = `# claude_k8s agent configuration

Adapter: claude_k8s. Every run of the agent is a Kubernetes Job that runs Claude Code; the server follows it by watches.

Use it when Paperclip runs in Kubernetes and agents should run in pods of their own. The server's pod supplies what is not
configured: image, namespace, environment, the volume at /paperclip, image pull secrets, DNS, node selector, tolerations.

Claude:
- model (string): model id; empty: Claude Code's own default. Ids such as claude-opus-5 are left out on Bedrock.
- effort, or thinkingEffort (string): passed as --effort
- maxTurnsPerRun (number): --max-turns; 0 or unset: no limit
- dangerouslySkipPermissions (boolean, default true): nobody can answer prompts in a Job
- extraArgs (string[]): further arguments, after all others
- instructionsFilePath (string): file on the server, appended to the system prompt of fresh sessions
- promptTemplate, bootstrapPromptTemplate (string): {{agent.name}}, {{context.…}} and the like are replaced
- mcpServers (object or JSON text): MCP servers by name, over those of /paperclip/.mcp.json; reach the pod in a Secret
- env (object of strings): variables of the container; values that look like credentials, and all that are not
  plain values of the agent's own configuration, reach it by a Secret

Job:
- image, imagePullPolicy (IfNotPresent | Always | Never), serviceAccountName, namespace (strings)
- kubeconfig (string): absolute path on the server; unset: the pod's service account, outside a pod $KUBECONFIG or ~/.kube/config
- kubeContext (string): context of the kubeconfig, as kubectl's --context; unset: its current one
- cwd (string): working directory when the run has no workspace; default /paperclip
- resources: {requests: {cpu, memory}, limits: {cpu, memory}}, or flat keys "resources.requests.cpu" and so on, which win.
  Defaults 1000m, 2Gi; 4000m, 8Gi
- nodeSelector, labels: key=value lines, JSON text or object; tolerations: JSON text or array
- podPatch (object or JSON text): {metadata: {annotations, labels}, spec}, a strategic merge patch of the pod for what no key
  covers: affinity, priorityClassName, runtimeClassName, topologySpreadConstraints, volumes, mounts, sidecars. It cannot change
  the agent's command, image, variables and mounts, nor make the pod less than "restricted"; what it tries so is an error
- timeoutSec (number): the Job's deadline; 0: none. graceSec (number, default 60): beyond it
- ttlSecondsAfterFinished (number, default 86400): Kubernetes deletes an ended Job that no run has deleted after so many seconds;
  retainJobs (boolean or "failed", default false): ended Jobs, or those of runs that fail, are left to that, so raise it too
- enableDocker (boolean), dockerImage, dockerCpuLimit, dockerMemoryLimit: a Docker daemon beside Claude
- workspaceVolumeClaim, workspaceMountPath (strings): a further volume, at /workspace unless told otherwise
- environmentProbe (boolean, default false): the environment test runs a short Job, and says whether the image can be pulled,
  whether claude is in it and whether a pod reaches Paperclip
- secretRef (string, default paperclip-secrets): the Secret that the environment test looks for; runs do not use it

Runs of one agent:
- concurrencyPolicy (wait | block | parallel, default wait): what a run does while another one of the agent is active. wait lets
  it begin when the other has ended (a day at most) and says whom it waits for, block refuses it (k8s_concurrent_run_blocked; the
  host tries again twice, 30 s apart), parallel runs both. The host may start several runs of an agent at once (20 unless
  runtimeConfig.heartbeat.maxConcurrentRuns of the agent says otherwise): use parallel if each has a workspace of its own.
- reattachOrphanedJobs (boolean, default true): take over a Job of the same task that a restarted server left behind
- deleteMismatchedOrphans (boolean, default false): delete such Jobs of other tasks instead of refusing to start. What another
  live server owns is never deleted
- maxDisruptionRestarts (number, default 3; 0: never): how often a run whose pod is evicted, preempted or lost with its node goes on
  by itself on another node, in the same session. Needs a volume that keeps Claude's sessions (/paperclip of the server's pod, or
  workspaceVolumeClaim mounted over the home directory)
- conversationContinuation (boolean, default true): mark failed runs so that the host may continue them by itself,
  and does not hold their issue for a person

Patience, in seconds:
- apiOutageSec (600): how long a run waits for an API server that is away before its agent has started
- scheduleTimeoutSec (600: autoscalers take minutes), imagePullGraceSec (30), configErrorGraceSec (30), keepaliveSec (300),
  resultGraceSec (30). A pod on a node has ten minutes to start, whatever it waits for

0 and "" count as not set.
`;
