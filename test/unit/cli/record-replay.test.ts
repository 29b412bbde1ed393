import { rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { expect, it, onTestFinished } from "vitest";
import { recordCommand } from "../../../src/cli/record.ts";
import { replay } from "../../../src/cli/replay.ts";
import type { ContainerContext, EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { type JobManifest, type Run, type RunEnd, RunEngine } from "../../../src/engine/index.ts";
import { expire, kubeConfigOf, LABELS, NAMESPACE, startKubernetes } from "../engine/harness.ts";

const MAIN = { container: "main" };

interface Scenario {
  /** Of the Job, over `backoffLimit: 0`. */
  job?: Record<string, unknown>;
  /** Of the pod, over one container `main`. */
  pod?: Record<string, unknown>;
  /** The exit code of each start of `main`, the last one for all further; none: it runs until it is told to end. */
  exits?: number[];
  /** What is done to it once it runs, or at once where it never does. */
  disturb?: (run: Run, k8s: EmbeddedKubernetes) => unknown;
  isNeverReady?: boolean;
  end: { kind: RunEnd["kind"]; exitCode: number | null; reason?: string };
  podChanges?: number;
}

const podName = (run: Run) => run.pod()?.metadata.name ?? "";
const deletePod = (run: Run, k8s: EmbeddedKubernetes) => k8s.objects.delete("pods", NAMESPACE, podName(run));
const init = (name: string, more: object = {}) => ({ initContainers: [{ name, image: name, ...more }] });

const SCENARIOS: Record<string, Scenario> = {
  succeeds: { exits: [0], end: { kind: "succeeded", exitCode: 0, reason: "Completed" } },
  fails: { exits: [3], end: { kind: "failed", exitCode: 3, reason: "Error" } },
  "killed-by-signal": { exits: [137], end: { kind: "failed", exitCode: 137, reason: "Error" } },
  "out-of-memory": {
    disturb: (run, k8s) => k8s.oomKill(NAMESPACE, podName(run), "main"),
    end: { kind: "failed", exitCode: 137, reason: "OOMKilled" },
  },
  "init-fails": {
    pod: init("bad"),
    isNeverReady: true,
    end: { kind: "start_failed", exitCode: null, reason: "Error" },
  },
  "native-sidecar": {
    pod: init("mesh", { restartPolicy: "Always" }),
    exits: [0],
    end: { kind: "succeeded", exitCode: 0 },
  },
  "mesh-sidecar-lives-on": {
    pod: {
      containers: [
        { name: "main", image: "agent" },
        { name: "mesh", image: "mesh" },
      ],
    },
    exits: [5],
    end: { kind: "failed", exitCode: 5 },
  },
  "evicted-by-kubelet": {
    disturb: (run, k8s) => k8s.evictPod(NAMESPACE, podName(run)),
    end: { kind: "evicted", exitCode: 137 },
  },
  "pod-deleted": { disturb: deletePod, end: { kind: "pod_deleted", exitCode: 143, reason: "PodDeleted" } },
  "pod-deleted-and-replaced": {
    job: { backoffLimit: 2 },
    disturb: deletePod,
    exits: [Number.NaN, 0],
    podChanges: 1,
    end: { kind: "succeeded", exitCode: 0 },
  },
  "deleted-in-background": {
    disturb: (run) => run.delete(),
    end: { kind: "job_deleted", exitCode: 143, reason: "JobDeleted" },
  },
  "deleted-in-foreground": {
    disturb: (run) => run.delete({ propagationPolicy: "Foreground" }),
    end: { kind: "job_deleted", exitCode: 143, reason: "JobDeleted" },
  },
  "deadline-while-running": {
    job: { activeDeadlineSeconds: 3_600 },
    disturb: (run, k8s) => expire(k8s, run.jobName),
    end: { kind: "deadline", exitCode: 143, reason: "DeadlineExceeded" },
  },
  "deadline-while-pending": {
    job: { activeDeadlineSeconds: 2 },
    pod: { nodeSelector: { none: "such" } },
    isNeverReady: true,
    end: { kind: "deadline", exitCode: null, reason: "DeadlineExceeded" },
  },
  "deadline-while-pulling": {
    job: { activeDeadlineSeconds: 2 },
    pod: { containers: [{ name: "main", image: "missing" }] },
    isNeverReady: true,
    end: { kind: "deadline", exitCode: null, reason: "DeadlineExceeded" },
  },
  "pulled-at-the-third-try": {
    pod: { containers: [{ name: "main", image: "flaky" }] },
    exits: [0],
    end: { kind: "succeeded", exitCode: 0 },
  },
  "fails-twice-then-succeeds": {
    job: { backoffLimit: 3 },
    exits: [1, 2, 0],
    podChanges: 2,
    end: { kind: "succeeded", exitCode: 0 },
  },
  "fails-to-the-limit": {
    job: { backoffLimit: 2 },
    exits: [1, 2, 3],
    podChanges: 2,
    end: { kind: "failed", exitCode: 3, reason: "Error" },
  },
  "restarts-in-place": {
    job: { backoffLimit: 6 },
    pod: { restartPolicy: "OnFailure" },
    exits: [1, 1, 0],
    end: { kind: "succeeded", exitCode: 0 },
  },
  "suspended-amid-and-resumed": {
    disturb: async (run, k8s) => {
      const suspend = (value: boolean) =>
        k8s.objects.update("jobs", NAMESPACE, run.jobName, (job) => {
          (job.spec as { suspend: boolean }).suspend = value;
        });
      suspend(true);
      await until(k8s, () => k8s.objects.get("pods", NAMESPACE, podName(run)) === undefined);
      suspend(false);
    },
    exits: [Number.NaN, 4],
    podChanges: 1,
    end: { kind: "failed", exitCode: 4 },
  },
  "deleted-after-its-end-by-ttl": {
    job: { ttlSecondsAfterFinished: 0 },
    exits: [0],
    end: { kind: "succeeded", exitCode: 0 },
  },
};

it("what is recorded of a cluster replays to the verdicts that the live engine gave", async () => {
  const k8s = await startKubernetes({ delays: "fast" });
  k8s.failImagePull("missing");
  k8s.failImagePull("flaky", { times: 2 });
  k8s.addProgram("bad", async function* () {
    yield "no";
    return 7;
  });
  k8s.addProgram("mesh", untilTold);
  const starts = new Map<string, number>();
  k8s.addProgram("main", async function* (container) {
    const scenario = container.pod.labels.scenario ?? "";
    const start = starts.get(scenario) ?? 0;
    starts.set(scenario, start + 1);
    const { exits = [Number.NaN] } = SCENARIOS[scenario] as Scenario;
    const exitCode = exits[Math.min(start, exits.length - 1)] as number;
    if (Number.isNaN(exitCode)) return yield* untilTold(container);
    yield "at work";
    await container.sleep(20);
    return exitCode;
  });

  const recording = await startRecording(k8s);
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  const lived = await Promise.all(
    Object.entries(SCENARIOS).map(async ([name, scenario]) => {
      const run = await engine.launch(manifest(name, scenario));
      const ready = run.podReady(MAIN).then(
        () => true,
        () => false,
      );
      if (scenario.isNeverReady !== true) await ready;
      await scenario.disturb?.(run, k8s);
      const end = await run.terminated(MAIN);
      return [name, { ready: await ready, end, podChanges: run.podChanges }] as const;
    }),
  );
  expect(Object.fromEntries(lived)).toMatchObject(
    Object.fromEntries(
      Object.entries(SCENARIOS).map(([name, { end, podChanges = 0, isNeverReady = false }]) => [
        name,
        { ready: !isNeverReady, end, podChanges },
      ]),
    ),
  );
  const replayed = replay(await recording.stop(), "main");
  expect(
    Object.fromEntries(
      replayed.map(({ job, ready, terminated, podChanges }) => {
        const { ms: _, ...end } = terminated ?? { ms: null };
        return [job, { ready: ready !== null, end, podChanges }];
      }),
    ),
  ).toEqual(
    Object.fromEntries(
      lived.map(
        ([
          name,
          {
            ready,
            podChanges,
            end: { kind, exitCode, reason },
          },
        ]) => [name, { ready, podChanges, end: { kind, exitCode, reason } }],
      ),
    ),
  );
});

it("a recording has what was there before it, also where the server only lists page by page", async () => {
  const k8s = await startKubernetes({ delays: "fast", streamingList: false });
  k8s.addProgram("main", async function* () {
    yield "done";
  });
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  const run = await engine.launch(manifest("before", {}));
  await run.terminated(MAIN);
  const recording = await startRecording(k8s);
  expect(replay(await recording.stop(), "main")).toMatchObject([
    { job: "before", ready: {}, terminated: { kind: "succeeded", exitCode: 0 } },
  ]);
});

function manifest(name: string, { job = {}, pod = {} }: Pick<Scenario, "job" | "pod">): JobManifest {
  return {
    metadata: { name, labels: LABELS },
    spec: {
      backoffLimit: 0,
      ...job,
      template: {
        metadata: { labels: { ...LABELS, scenario: name } },
        spec: {
          restartPolicy: "Never",
          terminationGracePeriodSeconds: 1,
          containers: [{ name: "main", image: "agent" }],
          ...pod,
        },
      },
    },
  };
}

async function* untilTold(container: ContainerContext) {
  yield "started";
  await container.sleep(1e9, { interruptible: true }).catch(() => undefined);
  return 143;
}

async function startRecording(k8s: EmbeddedKubernetes): Promise<{ stop(): Promise<string> }> {
  const kubeconfig = join(tmpdir(), `kubeconfig-${process.pid}-${Date.now()}`);
  await writeFile(kubeconfig, JSON.stringify(k8s.kubeconfigFor({ namespace: NAMESPACE })), { mode: 0o600 });
  onTestFinished(() => rm(kubeconfig, { force: true }));
  let text = "";
  let isOpen: () => void;
  /** Both watches have told something: what happens from now on reaches the recording. */
  const open = new Promise<void>((resolve) => {
    isOpen = resolve;
  });
  const stdout = new Writable({
    write(chunk, _encoding, done) {
      text += chunk;
      if (["jobs", "pods"].every((resource) => text.includes(`"resource":"${resource}"`))) isOpen();
      done();
    },
  });
  const end = new AbortController();
  const labels = Object.entries(LABELS).map(([key, value]) => `${key}=${value}`);
  const io = { stdout, stderr: process.stderr, signal: end.signal, answerMs: 60_000 };
  const running = recordCommand.run(["--kubeconfig", kubeconfig, "--labels", labels.join()], io);
  await open;
  const lastVersions = new Map<string, number>();
  const unsubscribe = k8s.objects.onChange(({ resource, resourceVersion }) => {
    if (resource === "jobs" || resource === "pods") lastVersions.set(resource, resourceVersion);
  });
  return {
    stop: async () => {
      unsubscribe();
      // The engine may have read the last change before the recorder has.
      for (const version of lastVersions.values())
        await expect.poll(() => text).toContain(`"resourceVersion":"${version}"`);
      end.abort();
      expect(await running).toBe(0);
      return text;
    },
  };
}

/** Resolves when `holds`; asked after every change of an object. */
function until(k8s: EmbeddedKubernetes, holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const check = () => {
      if (!holds()) return;
      unsubscribe();
      resolve();
    };
    const unsubscribe = k8s.objects.onChange(() => queueMicrotask(check));
    check();
  });
}
