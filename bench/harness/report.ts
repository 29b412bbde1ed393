import type { BenchReport, Goal, Table } from "./bench.ts";

/** As text that is Markdown too. */
export function renderReport(title: string, { tables, goals, notes = [] }: BenchReport): string {
  const parts = [`## ${title}`, ...tables.map(renderTable), renderGoals(goals), ...notes.map((note) => `> ${note}`)];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

export function renderGoals(goals: readonly Goal[]): string {
  if (goals.length === 0) return "";
  const rows = goals.map(({ what, goal, figure, met }) => [what, goal, figure, met ? "met" : "**not met**"]);
  return renderTable({ title: "", columns: ["goal", "wanted", "measured", ""], rows });
}

function renderTable({ title, columns, rows }: Table): string {
  const widths = columns.map((column, at) => Math.max(column.length, ...rows.map((row) => (row[at] ?? "").length)));
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, at) => (at === 0 ? (cells[at] ?? "").padEnd(width) : (cells[at] ?? "").padStart(width))).join(" | ")} |`;
  const rule = `|${widths.map((width, at) => (at === 0 ? "-".repeat(width + 2) : `${"-".repeat(width + 1)}:`)).join("|")}|`;
  const table = [line(columns), rule, ...rows.map(line)].join("\n");
  return title === "" ? table : `**${title}**\n\n${table}`;
}
