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
import { InvalidArgumentError } from "commander";
import { runScript } from "../../scripts/script-command.ts";
import { defineCommand, UsageError } from "../../src/cli/command.ts";
import { wholeNumber } from "../../src/cli/target.ts";
import { Recorder, type RecorderOptions } from "../e2e/support/recorder.ts";
import { anyStage } from "./any-stage.ts";
import { NAMESPACE } from "./script.ts";
import { megabytes, Soak } from "./soak.ts";
import { embeddedStage } from "./stage.ts";

/** What must have been hit in a soak of so many minutes or more. */
const LONG_MINUTES = 10;
const SHOWN = 30;

const DEFAULT_NAMESPACE = "k8s-run-informer-soak";

interface SoakArguments {
  minutes: number;
  hours?: number;
  runs?: number;
  atATime: number;
  servers: number;
  seed: number;
  kubeconfig?: string;
  image?: string;
  namespace: string;
  cpu: string;
  memory: string;
  moves: boolean;
  traces?: string;
  quiet: boolean;
}

const soakCommand = defineCommand<SoakArguments>({
  name: "npm run soak --",
  summary:
    "load and faults at once, on several servers that share one cluster; every result is judged (docs/testing.md)",
  configure: (command) =>
    command
      .option("--minutes <number>", "how long runs are started", aboveZero, 3)
      .option("--hours <number>", "the same in hours", aboveZero)
      .option("--runs <number>", "how many at most (default: 300 a minute, 10000 at least)", wholeNumber(1))
      .option("--at-a-time <number>", "how many at once", wholeNumber(1), 1_000)
      .option("--servers <number>", "processes with the adapter in them", wholeNumber(1), 3)
      .option("--seed <number>", "the same seed makes the same agents and weather", wholeNumber(1), 1)
      .option("--kubeconfig <file>", "another cluster than the embedded one; needs --image")
      .option("--image <image>", "with --kubeconfig: an image with the fake claude of test/fixtures/image")
      .option(
        "--namespace <name>",
        "with --kubeconfig: made, and deleted at the end, unless it is there",
        DEFAULT_NAMESPACE,
      )
      .option("--cpu <quantity>", "what each agent requests", "5m")
      .option("--memory <quantity>", "what each agent requests", "8Mi")
      .option("--moves", "some agents are evicted and go on in another Job; without --kubeconfig", false)
      .option("--traces <directory>", "where the traces of findings go (default: a folder for temporary files)")
      .option("--quiet", "only the findings and the last line", false),
  action: soak,
});

function aboveZero(text: string): number {
  const value = Number(text);
  if (text !== "" && Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError(`got ${JSON.stringify(text)}; give a number above 0`);
}

async function soak(given: SoakArguments): Promise<number> {
  const { seed, servers, atATime, kubeconfig, image, namespace, cpu, memory, moves } = given;
  const minutes = given.hours === undefined ? given.minutes : given.hours * 60;
  const runs = given.runs ?? Math.max(10_000, Math.round(minutes * 300));
  if (kubeconfig !== undefined && image === undefined)
    throw new UsageError("--kubeconfig needs --image: an image with the fake claude of test/fixtures/image");
  if (kubeconfig !== undefined && moves)
    throw new UsageError(
      "--moves goes without --kubeconfig: the agents of the embedded Kubernetes go on with their numbers",
    );
  if (kubeconfig === undefined && image !== undefined)
    throw new UsageError("--image goes with --kubeconfig: the embedded Kubernetes has no images");
  const directory = await mkdtemp(join(tmpdir(), "k8s-run-informer-soak-"));
  const beganAt = performance.now();
  const traceDirectory = resolve(given.traces ?? join(tmpdir(), `k8s-run-informer-soak-traces-${process.pid}`));
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
          { seed, directory, cpu, memory, moves },
          (path) => record({ kubeconfig: path, namespace: NAMESPACE }),
          onWrong,
        )
      : await anyStage(
          { form: "any", kubeconfig: resolve(kubeconfig), namespace, image, cpu, memory, moves },
          seed,
          (onFrame) => record({ kubeconfig: resolve(kubeconfig), namespace, onFrame }),
          onWrong,
        );
  const load = new Soak(stage, { seed, runs, atATime, minutes, servers, onWrong });
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      load.end();
      void stage
        .end()
        .finally(() => rm(directory, { recursive: true, force: true }))
        .finally(() => process.exit(130));
    });
  }
  try {
    const { faults, notes } = await load.run((text) => {
      if (!given.quiet) console.error(text);
    });
    const counts = (of: Record<string, number>) =>
      Object.entries(of)
        .sort(([, a], [, b]) => b - a)
        .map(([what, count]) => `${count} ${what}`)
        .join(", ") || "none";
    const { figures, samples, storm } = load;
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
        `${figures.started} runs, at most ${figures.mostAtOnce} at once (${counts(load.outcomes)})`,
        `tried again ${counts(load.retries)}`,
        `${figures.adoptions} runs adopted, ${figures.stale} results that the host had given up`,
        `${figures.endedByNext} Jobs left to their agent's next run`,
        `${figures.lines} lines, ${figures.gaps} announced gaps`,
        `faults: ${counts(all)}`,
        ...notes,
        `heap ${megabytes(Math.min(...heaps))}…${megabytes(Math.max(...heaps))} MB after collection`,
      ].join("; "),
    );
    return figures.wrong === 0 ? 0 : 1;
  } finally {
    load.end();
    await stage.end();
    await rm(directory, { recursive: true, force: true });
  }
}

await runScript(soakCommand);
