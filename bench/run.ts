import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { runScript } from "../scripts/script-command.ts";
import { defineCommand, UsageError } from "../src/cli/command.ts";
import { wholeNumber } from "../src/cli/target.ts";
import { growthReport } from "./benches/growth.ts";
import { BENCHES } from "./benches/index.ts";
import type { Bench, BenchContext, BenchReport } from "./harness/bench.ts";
import { Child } from "./harness/child.ts";
import { renderGoals, renderReport } from "./harness/report.ts";
import { loadReports, saveChart, saveReport } from "./harness/results.ts";

/** The longest takes a third of it on two cores. */
const BENCH_TIMEOUT_MS = 12 * 60_000;

const HERE = new URL("./", import.meta.url);

const NAMES = Object.keys(BENCHES).join(", ");

const benchCommand = defineCommand<{ quick: boolean; rounds?: number; json: boolean }>({
  name: "npm run bench --",
  summary: "measures the package beside the alternatives (docs/performance.md)",
  configure: (command) =>
    command
      .argument("[name...]", `${NAMES}; all of them without one, or as growth`)
      .option("--quick", "small sizes and one round: shows that everything runs, not how fast", false)
      .option(
        "--rounds <number>",
        "measured rounds of each contestant, after one that warms up (default: 3)",
        wholeNumber(1),
      )
      .option(
        "--json",
        "write bench/results/NAME.json and growth.svg as well; node bench/report.ts then brings them into the documents",
        false,
      ),
  action: ({ quick, rounds = quick ? 1 : 3, json }, _, given) => measure(given, { quick, rounds, json }),
});

async function measure(
  given: readonly string[],
  values: { quick: boolean; rounds: number; json: boolean },
): Promise<number> {
  const { rounds } = values;
  // Growth is a property of all of them.
  const names = given.flatMap((name) => (name === "growth" ? Object.keys(BENCHES) : [name]));
  const unknown = names.filter((name) => !(name in BENCHES));
  if (unknown.length > 0) throw new UsageError(`there is no bench ${unknown.join(", ")}; there are: ${NAMES}`);
  installPeers();
  const context: BenchContext = { quick: values.quick, rounds, log: (text) => console.error(text) };
  const reports: Record<string, BenchReport> = {};
  const failed: string[] = [];
  console.log(machine());
  for (const name of names.length > 0 ? new Set(names) : Object.keys(BENCHES)) {
    const bench = await BENCHES[name]?.();
    if (bench === undefined) continue;
    console.error(name);
    const startedAt = performance.now();
    const report = await bounded(name, bench, context);
    if (report === null) {
      failed.push(name);
      continue;
    }
    reports[name] = report;
    console.log(`\n${renderReport(`${name}: ${bench.title}`, report)}`);
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    console.error(`  ${seconds} s`);
    if (values.json) {
      const measuredAt = new Date().toISOString();
      saveReport(name, {
        machine: machine(),
        commit: commit(),
        measuredAt,
        rounds,
        quick: values.quick,
        seconds,
        ...report,
      });
    }
  }
  const growth = growthReport(reports);
  if (growth !== null) {
    reports.growth = growth;
    console.log(`\n${renderReport("growth: cost against size", growth)}`);
  }
  const goals = Object.values(reports).flatMap((report) => report.goals);
  if (Object.keys(reports).length > 1) console.log(`\n## Goals\n\n${renderGoals(goals)}`);
  if (values.json) saveChart(loadReports(Object.keys(BENCHES)));
  if (failed.length > 0) console.error(`failed: ${failed.join(", ")}`);
  return failed.length > 0 ? 1 : 0;
}

/** The bench's report, or null when it failed or took too long: the others run all the same. */
async function bounded(name: string, bench: Bench, context: BenchContext): Promise<BenchReport | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`took longer than ${BENCH_TIMEOUT_MS / 60_000} minutes`)),
      BENCH_TIMEOUT_MS,
    );
  });
  try {
    return await Promise.race([bench.run(context), late]);
  } catch (error) {
    console.error(`  ${name} failed:`, error);
    return null;
  } finally {
    clearTimeout(timer);
    // Also ends the calls of a bench that is late.
    await Child.stopAll();
  }
}

/** The clients to compare with are no dependencies of the package: they are installed beside the benches, once. */
function installPeers(): void {
  if (existsSync(new URL("third-party/node_modules/kubernetes-fluent-client/package.json", HERE))) return;
  console.error("installing the clients to compare with (npm ci --prefix bench/third-party)");
  execFileSync(
    "npm",
    ["ci", "--prefix", fileURLToPath(new URL("third-party/", HERE)), "--no-audit", "--no-fund", "--ignore-scripts"],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
}

/** What lies in `bench/results` and the documents is the outcome, not what is measured. */
function commit(): string {
  const git = (...args: string[]) => execFileSync("git", args, { cwd: fileURLToPath(HERE), encoding: "utf8" }).trim();
  const changed = git("status", "--porcelain", "--", "../src", ".", ":!results");
  return `${git("rev-parse", "--short", "HEAD")}${changed === "" ? "" : "-dirty"}`;
}

function machine(): string {
  const [cpu] = cpus();
  return `Node ${process.version}, ${cpus().length} × ${cpu?.model ?? "unknown CPU"}, ${process.platform} ${process.arch}`;
}

await runScript(benchCommand);
