import type { JobManifest } from "../../../src/engine/index.ts";
import { CLAUDE_DIRECTORY, type E2eContext, MOUNTED_PATH, RUN_LABEL } from "../context.ts";

export const CONTAINER = "claude";

export interface JobInput {
  readonly name: string;
  /** Directives of the fake `claude` (test/fixtures/image/claude). */
  readonly script: string;
  /** Over the Job's spec. */
  readonly spec?: Readonly<Record<string, unknown>>;
  /** Over the pod's spec. */
  readonly pod?: Readonly<Record<string, unknown>>;
  /** Over the named container. */
  readonly container?: { readonly env?: readonly object[]; readonly volumeMounts?: readonly object[] } & Readonly<
    Record<string, unknown>
  >;
  /** Containers after the named one. */
  readonly beside?: readonly object[];
  readonly volumes?: readonly object[];
}

/** A Job with one fake `claude`. */
export function jobManifest(context: E2eContext, input: JobInput): JobManifest {
  const { namespace, mountedClaude, suiteRun } = context;
  const { env = [], volumeMounts = [], ...container } = input.container ?? {};
  const labels = { [RUN_LABEL]: suiteRun };
  const mount = mountedClaude === null ? [] : [{ name: "fake-claude", mountPath: CLAUDE_DIRECTORY }];
  const volume =
    mountedClaude === null
      ? []
      : [{ name: "fake-claude", secret: { secretName: mountedClaude.secret, defaultMode: 0o555 } }];
  const path = mountedClaude === null ? [] : [{ name: "PATH", value: MOUNTED_PATH }];
  return {
    metadata: { name: input.name, namespace, labels },
    spec: {
      backoffLimit: 0,
      ...input.spec,
      template: {
        metadata: { labels },
        spec: {
          restartPolicy: "Never",
          // For the script's last words, which are said in real time.
          terminationGracePeriodSeconds: 15 * context.timeScale,
          ...input.pod,
          containers: [
            {
              name: CONTAINER,
              image: context.image,
              command: ["sh", "-c", "exec claude < /dev/null"],
              env: [{ name: "FAKE_CLAUDE", value: input.script }, ...path, ...env],
              volumeMounts: [...mount, ...volumeMounts],
              ...container,
            },
            ...(input.beside ?? []),
          ],
          volumes: [...volume, ...(input.volumes ?? [])],
        },
      },
    },
  };
}

/** Any container that only runs a shell script. */
export function shellContainer(context: E2eContext, name: string, script: string, more: object = {}): object {
  return { name, image: context.image, command: ["sh", "-c", script], ...more };
}

/**
 * A native sidecar with memory that it does not use. It makes the pod's own cgroup larger than the one of the container that
 * is to run out of memory: where the pod's runs full first, the kubelet may say `Error` in place of `OOMKilled`.
 */
export function sidecarWithMemory(context: E2eContext): object {
  const resources = { requests: { cpu: "5m", memory: "16Mi" }, limits: { cpu: "100m", memory: "64Mi" } };
  return shellContainer(context, "room", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done", {
    restartPolicy: "Always",
    resources,
  });
}

/**
 * 10 000 lines of 1 KiB in ten pieces. The kubelet looks every ten seconds whether a log file is too large. The pauses are of
 * real time, as the reader's is. The last one is longer than two looks: of lines that a rotation parts from the container's
 * end nobody can tell whether more stood behind them.
 */
export function tenMegabytes({ timeScale }: E2eContext): string {
  return `${Array(10).fill("burst 1000 1024").join("; sleep 1.5; ")}; sleep ${25 / timeScale}`;
}
