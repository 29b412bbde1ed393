/**
 * Writes what bench/results holds into docs/performance.md and README.md, between markers, and draws the chart of growth:
 *
 *   node bench/report.ts           after `npm run bench -- --json`
 *   node bench/report.ts --check   exits with 1 when a document does not say what the results say
 */
import { readFileSync, writeFileSync } from "node:fs";
import { growthReport } from "./benches/growth.ts";
import { BENCHES } from "./benches/index.ts";
import { renderPicture } from "./harness/picture.ts";
import { renderGoals, renderReport, renderTable } from "./harness/report.ts";
import { cell, loadReports, type SavedReport, saveChart, savePicture } from "./harness/results.ts";

const DOCUMENTS = ["docs/performance.md", "README.md"];
const MARKED = /(<!-- measured: ([a-z]+) -->\n)[\s\S]*?(<!-- end of measured -->)/g;

const reports = loadReports(Object.keys(BENCHES));
const growth = growthReport(reports);

function contentOf(name: string): string {
  if (name === "goals") return goals();
  if (name === "machine") return machine();
  if (name === "readme") return readme();
  if (name === "growth" && growth !== null) return renderReport(null, growth);
  const report = reports[name];
  if (report === undefined) throw new Error(`bench/results has no ${name}.json: npm run bench -- ${name} --json`);
  return renderReport(null, report);
}

function goals(): string {
  const all: Record<string, Pick<SavedReport, "goals">> = growth === null ? reports : { ...reports, growth };
  return renderGoals(
    Object.entries(all).flatMap(([bench, report]) => report.goals.map((goal) => ({ ...goal, bench }))),
  );
}

function machine(): string {
  const all = Object.values(reports);
  const machines = [...new Set(all.map((report) => report.machine))].join("; ");
  const dates = all.map(({ measuredAt }) => measuredAt.slice(0, 10)).sort();
  const span = dates[0] === dates.at(-1) ? dates[0] : `${dates[0]} to ${dates.at(-1)}`;
  const minutes = all.reduce((sum, { seconds }) => sum + seconds, 0) / 60;
  return `${machines}. At commit ${commits()}; ${span}. All benches together took ${minutes.toFixed(0)} minutes.\n`;
}

function commits(): string {
  const named = Object.groupBy(Object.entries(reports), ([, { commit = "unknown" }]) => commit);
  const each = Object.entries(named).map(
    ([commit, all = []]) => `\`${commit}\` (${all.map(([name]) => name).join(", ")})`,
  );
  return each.join(", ");
}

function readme(): string {
  const { requests, latency, memory, runs } = reports;
  const ours = "k8s-run-informer";
  const polling = "polling adapter";
  const requestsOf = (client: string) => cell(requests, "600 s", client, "requests a run");
  const latencyOf = (client: string) => cell(latency, "1,000 active", client, "median ms");
  const rows = [
    [
      "API requests of a run of 10 minutes",
      `${requestsOf(ours)}, credential included; polling every 2 s: ${requestsOf(polling)}`,
      "requests",
    ],
    [
      "from the container's end on the server to the resolved promise, 1 000 runs active, median",
      `${latencyOf(ours)} ms; polling: ${latencyOf(polling)} ms`,
      "latency",
    ],
    [
      "memory of a pod in the cache",
      `${cell(memory, "in the cache", `${ours}, trimmed`, "heap a pod")} trimmed, ${cell(memory, "in the cache", `${ours}, whole`, "heap a pod")} whole; client-node's informer, which keeps it whole: ${cell(memory, "in the cache", "client-node", "heap a pod")}`,
      "memory",
    ],
    [
      "5 000 concurrent runs in one process",
      `${cell(runs, "Each run", "5,000", "CPU ms a run")} ms of CPU a run, ${cell(runs, "Each run", "5,000", "resident memory")} resident`,
      "runs",
    ],
  ];
  const commitOf = (name: string) => `\`${reports[name]?.commit ?? "unknown"}\``;
  return `${renderTable(
    {
      title: "",
      columns: ["what", "figure", "command", "at commit"],
      rows: rows.map(([what = "", figure = "", name = ""]) => [
        what,
        figure,
        `\`npm run bench -- ${name}\``,
        commitOf(name),
      ]),
    },
    "left",
  )}\n`;
}

const isCheck = process.argv.includes("--check");
if (!isCheck) {
  saveChart(reports);
  savePicture("summary", renderPicture(reports));
}
let isStale = false;
for (const path of DOCUMENTS) {
  const url = new URL(`../${path}`, import.meta.url);
  const before = readFileSync(url, "utf8");
  const after = before.replace(
    MARKED,
    (_, open: string, name: string, close: string) => `${open}\n${contentOf(name)}\n${close}`,
  );
  if (after === before) continue;
  if (isCheck) {
    isStale = true;
    console.error(`${path} does not say what bench/results says: node bench/report.ts`);
  } else {
    writeFileSync(url, after);
    console.log(`${path} updated`);
  }
}
process.exitCode = isStale ? 1 : 0;
