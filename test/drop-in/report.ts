/**
 * `npm run report:drop-in [-- FILE]`: runs the unit tests that `reference.md` names and writes what became of each behaviour of the
 * former adapter, into FILE (default: drop-in-report.md). The end-to-end tests and those with the real CLI have commands of their own.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Reference, type Row, readRows, referencesOf, root } from "./rows.ts";

interface Results {
  testResults: { name: string; assertionResults: { fullName: string; status: string }[] }[];
}

const output = process.argv[2] ?? "drop-in-report.md";
const rows = readRows();
const files = [...new Set(rows.flatMap(referencesOf).map(({ file }) => file))].filter((file) =>
  file.includes("/unit/"),
);
const directory = mkdtempSync(join(tmpdir(), "drop-in-"));
const json = join(directory, "results.json");
const vitest = [
  "node_modules/vitest/vitest.mjs",
  "run",
  "--project",
  "unit",
  "--reporter=json",
  `--outputFile=${json}`,
];
spawnSync(process.execPath, [...vitest, ...files], { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
const results: Results = JSON.parse(readFileSync(json, "utf8"));
rmSync(directory, { recursive: true });

const tested = new Map(results.testResults.map(({ name, assertionResults }) => [name, assertionResults]));
const verdicts = rows.map((row) => ({ row, verdict: verdictOf(row) }));
const lines = ["# Behaviours of the former adapter", "", `${summary()}. Written by \`npm run report:drop-in\`.`];
let section = "";
for (const { row, verdict } of verdicts) {
  if (row.section !== section)
    lines.push("", `## ${row.section}`, "", "| Behaviour | Result | Test |", "|---|---|---|");
  section = row.section;
  lines.push(`| ${row.behaviour} | ${verdict} | ${row.cell} |`);
}
writeFileSync(output, `${lines.join("\n")}\n`);
console.log(`${output}: ${summary()}`);
process.exitCode = verdicts.some(({ verdict }) => verdict === "failed") ? 1 : 0;

function summary(): string {
  const counts = Map.groupBy(verdicts, ({ verdict }) => verdict);
  return [...counts].map(([verdict, each]) => `${each.length} ${verdict}`).join(", ");
}

/** Of the tests that it names; one whose text is no test's name is judged by its whole file. */
function verdictOf(row: Row): string {
  const references = referencesOf(row);
  if (references.length === 0) return "not tested, with a reason";
  const statuses = references.flatMap(statusesOf);
  if (statuses.includes("failed")) return "failed";
  return statuses.includes("passed") ? "passed" : "run by another command";
}

function statusesOf({ file, texts }: Reference): string[] {
  const all = tested.get(join(root, file)) ?? [];
  const named = all.filter(({ fullName }) => texts.some((text) => fullName.includes(text)));
  return (named.length > 0 ? named : all).map(({ status }) => status);
}
