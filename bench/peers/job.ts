import type { JobManifest } from "../../src/engine/index.ts";

export const LABELS = { "paperclip.io/adapter-type": "claude_k8s" } as const;
export const CONTAINER = "claude";

export interface RunPlan {
  jobName: string;
  namespace: string;
  /** Virtual milliseconds; null: until the server releases it. */
  runMs: number | null;
  lineMs?: number;
}

/** A Job about as large as the adapter's. */
export function jobManifest({ jobName, namespace, runMs, lineMs }: RunPlan): JobManifest {
  const labels = {
    ...LABELS,
    "app.kubernetes.io/managed-by": "paperclip",
    "app.kubernetes.io/component": "agent-job",
    "paperclip.io/agent-id": jobName,
    "paperclip.io/run-id": jobName,
  };
  const env = [
    ...(runMs === null ? [] : [{ name: "BENCH_RUN_MS", value: String(runMs) }]),
    ...(lineMs === undefined ? [] : [{ name: "BENCH_LINE_MS", value: String(lineMs) }]),
    ...Array.from({ length: 12 }, (_, at) => ({
      name: `PAPERCLIP_SETTING_${at}`,
      value: `value of the setting ${at}`,
    })),
  ];
  const resources = { requests: { cpu: "10m", memory: "16Mi" } };
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: jobName, namespace, labels },
    spec: {
      backoffLimit: 0,
      ttlSecondsAfterFinished: 300,
      template: {
        metadata: { labels },
        spec: {
          restartPolicy: "Never",
          initContainers: [{ name: "write-prompt", image: "busybox:1", command: ["sh", "-c", "echo ok"], resources }],
          containers: [
            { name: CONTAINER, image: "bench/claude:1", command: ["sh", "-c", "claude --print -"], env, resources },
          ],
        },
      },
    },
  };
}
