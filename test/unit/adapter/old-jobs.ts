/** Jobs as earlier versions of the adapter made them, in the parts that another process sees or the kubelet runs. */
export function oldJob(options: {
  version: "0.1.30" | "0.2.5";
  name: string;
  namespace: string;
  adapterType: string;
  containerName: string;
  agentId: string;
  runId: string;
  taskId: string;
  sessionId?: string;
}) {
  const { version, name, namespace, adapterType, containerName, agentId, runId, taskId, sessionId } = options;
  const labels = {
    "app.kubernetes.io/managed-by": "paperclip",
    "app.kubernetes.io/component": "agent-job",
    "paperclip.io/agent-id": agentId,
    "paperclip.io/run-id": runId,
    "paperclip.io/company-id": "company-1",
    "paperclip.io/adapter-type": adapterType,
    "paperclip.io/task-id": taskId,
    ...(sessionId === undefined ? {} : { "paperclip.io/session-id": sessionId }),
  };
  const pipe = version === "0.2.5" ? " | tee /paperclip/instances/default/data/run-logs/company-1/a/r.pod.ndjson" : "";
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: {
      name,
      namespace,
      labels,
      annotations: { "paperclip.io/adapter-type": adapterType, "paperclip.io/agent-name": "Ada" },
    },
    spec: {
      backoffLimit: 0,
      ttlSecondsAfterFinished: 300,
      template: {
        metadata: { labels },
        spec: {
          restartPolicy: "Never",
          initContainers: [
            {
              name: "write-prompt",
              image: "busybox:1.36",
              command: ["sh", "-c", `printf '%s' "$PROMPT_CONTENT" > /tmp/prompt/prompt.txt`],
              env: [{ name: "PROMPT_CONTENT", value: "Do the work." }],
              volumeMounts: [{ name: "prompt", mountPath: "/tmp/prompt" }],
            },
          ],
          containers: [
            {
              name: containerName,
              image: "paperclip:old",
              command: ["sh", "-c", `cat /tmp/prompt/prompt.txt | claude '--print' '-'${pipe}`],
              volumeMounts: [{ name: "prompt", mountPath: "/tmp/prompt" }],
            },
          ],
          volumes: [{ name: "prompt", emptyDir: {} }],
        },
      },
    },
  };
}
