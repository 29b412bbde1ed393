/**
 * Load and faults at once. Three kinds of processes: the cluster with its weather, servers with the adapter in them that are
 * killed, paused and replaced (worker.ts), and this one, which plays the host and judges every result.
 *
 *   npm run soak -- --minutes 3 --runs 10000 --at-a-time 1000 --seed 1
 *   npm run soak -- --kubeconfig ~/.kube/config --image IMAGE --namespace soak --runs 500 --at-a-time 50
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Recorder, type RecorderOptions } from "../e2e/support/recorder.ts";
import { anyStage } from "./any-stage.ts";
import { NAMESPACE } from "./script.ts";
import { megabytes, Soak } from "./soak.ts";
import { embeddedStage } from "./stage.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "3" },
    hours: { type: "string" },
    runs: { type: "string" },
    "at-a-time": { type: "string", default: "1000" },
    servers: { type: "string", default: "3" },
    seed: { type: "string", default: "1" },
    kubeconfig: { type: "string" },
    image: { type: "string" },
    namespace: { type: "string", default: "k8s-run-informer-soak" },
    cpu: { type: "string", default: "5m" },
    memory: { type: "string", default: "8Mi" },
    traces: { type: "string" },
    quiet: { type: "boolean", default: false },
  },
});
const positive = (name: "minutes" | "hours" | "runs" | "at-a-time" | "servers" | "seed"): number => {
  const value = Number(values[name]);
  if (Number.isFinite(value) && value > 0) return value;
  console.error(`--${name} must be a number above 0, got ${values[name]}`);
  process.exit(2);
};
/** What must have been hit in a soak of so many minutes or more. */
const LONG_MINUTES = 10;
const SHOWN = 30;

const seed = positive("seed");
const minutes = values.hours === undefined ? positive("minutes") : positive("hours") * 60;
const atATime = positive("at-a-time");
const runs = values.runs === undefined ? Math.max(10_000, Math.round(minutes * 300)) : positive("runs");
const directory = await mkdtemp(join(tmpdir(), "k8s-run-informer-soak-"));
const beganAt = performance.now();
const { cpu, memory, kubeconfig, image, namespace } = values;
if ((kubeconfig === undefined) !== (image === undefined)) {
  console.error("--kubeconfig and --image go together: the image must hold the fake claude of test/fixtures/image");
  process.exit(2);
}
const traceDirectory = resolve(values.traces ?? join(tmpdir(), `k8s-run-informer-soak-traces-${process.pid}`));
let shown = 0;
const onWrong = (what: string, trace: string | null = null): void => {
  if (++shown > SHOWN) return;
  console.log(`WRONG ${what}${trace === null ? "" : `\n    trace ${trace}`}`);
};
const record = (of: Pick<RecorderOptions, "kubeconfig" | "namespace" | "onFrame">) =>
  new Recorder({
    ...of,
    traceDirectory,
    selector: "app.kubernetes.io/managed-by=paperclip",
    keyOf: ({ object }) => object?.metadata.labels?.["paperclip.io/agent-id"],
  });
const stage =
  kubeconfig === undefined || image === undefined
    ? await embeddedStage(
        { seed, directory, cpu, memory },
        (path) => record({ kubeconfig: path, namespace: NAMESPACE }),
        onWrong,
      )
    : await anyStage(
        { form: "any", kubeconfig: resolve(kubeconfig), namespace, image, cpu, memory },
        seed,
        (onFrame) => record({ kubeconfig: resolve(kubeconfig), namespace, onFrame }),
        onWrong,
      );
const soak = new Soak(stage, { seed, runs, atATime, minutes, servers: positive("servers"), onWrong });
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    soak.end();
    void stage
      .end()
      .finally(() => rm(directory, { recursive: true, force: true }))
      .finally(() => process.exit(130));
  });
}
try {
  const { faults, notes } = await soak.run((text) => {
    if (!values.quiet) console.error(text);
  });
  const counts = (of: Record<string, number>) =>
    Object.entries(of)
      .sort(([, a], [, b]) => b - a)
      .map(([what, count]) => `${count} ${what}`)
      .join(", ") || "none";
  const { figures, samples, storm } = soak;
  const all = { ...faults, ...Object.fromEntries(Object.entries(storm.counts).map(([k, v]) => [`servers ${k}`, v])) };
  const never = Object.keys(all).filter((what) => all[what] === 0);
  if (minutes >= LONG_MINUTES && never.length > 0) {
    figures.wrong += 1;
    onWrong(`never hit: ${never.join(", ")}`);
  }
  const heaps = samples.map(({ heap }) => heap);
  console.log(
    [
      `${figures.wrong === 0 ? "clean" : `${figures.wrong} WRONG`}: seed ${seed}`,
      `${((performance.now() - beganAt) / 60_000).toFixed(1)} min`,
      `${figures.started} runs, at most ${figures.mostAtOnce} at once (${counts(soak.outcomes)})`,
      `tried again ${counts(soak.retries)}`,
      `${figures.adoptions} runs adopted, ${figures.stale} results that the host had given up`,
      `${figures.endedByNext} Jobs left to their agent's next run`,
      `${figures.lines} lines, ${figures.gaps} announced gaps`,
      `faults: ${counts(all)}`,
      ...notes,
      `heap ${megabytes(Math.min(...heaps))}…${megabytes(Math.max(...heaps))} MB after collection`,
    ].join("; "),
  );
  process.exitCode = figures.wrong === 0 ? 0 : 1;
} finally {
  soak.end();
  await stage.end();
  await rm(directory, { recursive: true, force: true });
}
