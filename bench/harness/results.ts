import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { BenchReport } from "./bench.ts";
import { type Panel, renderChart } from "./chart.ts";

/** A bench's report as `--json` leaves it in bench/results. */
export interface SavedReport extends BenchReport {
  machine: string;
  /** Short hash of the commit that was measured; `-dirty` where files were changed. */
  commit?: string;
  /** ISO 8601 */
  measuredAt: string;
  rounds: number;
  quick: boolean;
  seconds: number;
}

const RESULTS = new URL("../results/", import.meta.url);
const fileOf = (name: string) => new URL(`${name}.json`, RESULTS);

export function saveReport(name: string, report: SavedReport): void {
  mkdirSync(RESULTS, { recursive: true });
  writeFileSync(fileOf(name), `${JSON.stringify(report, null, 1)}\n`);
}

/** Those that there are, in the order of the names. */
export function loadReports(names: readonly string[]): Record<string, SavedReport> {
  const found = names.filter((name) => existsSync(fileOf(name)));
  return Object.fromEntries(found.map((name) => [name, JSON.parse(readFileSync(fileOf(name), "utf8")) as SavedReport]));
}

/** bench/results/growth.svg, of all reports that are there. */
export function saveChart(reports: Readonly<Record<string, BenchReport>>): void {
  const panels: Panel[] = Object.entries(reports).map(([name, { series = [] }]) => ({ title: name, series }));
  if (panels.some(({ series }) => series.length > 0))
    writeFileSync(new URL("growth.svg", RESULTS), renderChart(panels));
}

/** A picture beside them. */
export function savePicture(name: string, svg: string): void {
  writeFileSync(new URL(`${name}.svg`, RESULTS), svg);
}

/** The figure in the row that begins so, of the table whose title has this in it. @throws Error when there is none */
export function cell(report: BenchReport | undefined, title: string, row: string, column: string): string {
  const table = report?.tables.find((each) => each.title.includes(title));
  const at = table?.columns.indexOf(column) ?? -1;
  const found = table?.rows.find(([first]) => first?.startsWith(row))?.[at];
  if (found === undefined) throw new Error(`no ${JSON.stringify([title, row, column])} in the results`);
  return found;
}
