/**
 * Load and faults at once. Three kinds of processes: the cluster with its weather (cluster.ts), adapters that are killed and
 * replaced (worker.ts), and this one, which plays the host and judges every result against the run's script and the cluster's
 * own history.
 *
 *   npm run soak -- --minutes 3 --runs 10000 --at-a-time 1000 --seed 1
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { megabytes, Soak } from "./soak.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "3" },
    runs: { type: "string", default: "10000" },
    "at-a-time": { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    "time-scale": { type: "string", default: "20" },
    quiet: { type: "boolean", default: false },
  },
});
const positive = (name: "minutes" | "runs" | "at-a-time" | "seed" | "time-scale"): number => {
  const value = Number(values[name]);
  if (Number.isFinite(value) && value > 0) return value;
  console.error(`--${name} must be a number above 0, got ${values[name]}`);
  process.exit(2);
};
const seed = positive("seed");
const directory = await mkdtemp(join(tmpdir(), "k8s-run-informer-soak-"));
const beganAt = performance.now();
let wrong = 0;
const soak = new Soak({
  seed,
  runs: positive("runs"),
  atATime: positive("at-a-time"),
  minutes: positive("minutes"),
  timeScale: positive("time-scale"),
  directory,
  onWrong: (what) => {
    if (++wrong <= 30) console.log(`WRONG ${what}`);
  },
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    soak.end();
    process.exit(130);
  });
}
try {
  await soak.run((text) => {
    if (!values.quiet) console.error(text);
  });
} finally {
  soak.end();
  await rm(directory, { recursive: true, force: true });
}

const counts = (of: Record<string, number>) =>
  Object.entries(of)
    .sort(([, a], [, b]) => b - a)
    .map(([what, count]) => `${count} ${what}`)
    .join(", ") || "none";
const { figures, samples, truth } = soak;
const heaps = samples.map(({ heap }) => heap);
console.log(
  [
    `${soak.wrong.length === 0 ? "clean" : `${soak.wrong.length} WRONG`}: seed ${seed}`,
    `${((performance.now() - beganAt) / 60_000).toFixed(1)} min`,
    `${figures.started} runs, at most ${figures.mostAtOnce} at once (${counts(soak.outcomes)})`,
    `tried again ${counts(soak.retries)}`,
    `${figures.kills} processes killed, ${figures.adoptions} runs adopted`,
    `${figures.endedByNext} Jobs left to their agent's next run, ${truth?.leftToSweep ?? 0} to the sweep`,
    `${figures.lines} lines, ${figures.gaps} announced gaps`,
    `faults: ${counts(truth?.faults ?? {})}`,
    `${truth?.requests ?? 0} requests, ${truth?.connectionsOpened ?? 0} connections`,
    `heap ${megabytes(Math.min(...heaps))}…${megabytes(Math.max(...heaps))} MB after collection`,
  ].join("; "),
);
process.exitCode = soak.wrong.length === 0 ? 0 : 1;
