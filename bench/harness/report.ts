import type { BenchReport, Goal, Table } from "./bench.ts";

/** As text that is Markdown too. */
export function renderReport(title: string | null, { tables, goals, notes = [] }: BenchReport): string {
  const heading = title === null ? "" : `## ${title}`;
  const shown = tables.map((table) => renderTable(table));
  const parts = [heading, ...shown, renderGoals(goals), ...notes.map((note) => `> ${note}`)];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

export function renderGoals(goals: readonly (Goal & { bench?: string })[]): string {
  if (goals.length === 0) return "";
  const rows = goals.map(({ bench, what, goal, figure, met }) => [
    bench === undefined ? what : `${bench}: ${what}`,
    goal,
    figure,
    met === "void" ? "void" : met ? "met" : "**not met**",
  ]);
  return renderTable({ title: "", columns: ["goal", "wanted", "measured", ""], rows });
}

export function renderTable({ title, columns, rows }: Table, figures: "left" | "right" = "right"): string {
  const isLeft = (column: number) => column === 0 || figures === "left";
  const widths = columns.map((column, at) => Math.max(column.length, ...rows.map((row) => (row[at] ?? "").length)));
  const pad = (text: string, width: number, column: number) =>
    isLeft(column) ? text.padEnd(width) : text.padStart(width);
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, at) => pad(cells[at] ?? "", width, at)).join(" | ")} |`;
  const rule = `|${widths.map((width, at) => (isLeft(at) ? "-".repeat(width + 2) : `${"-".repeat(width + 1)}:`)).join("|")}|`;
  const table = [line(columns), rule, ...rows.map(line)].join("\n");
  return title === "" ? table : `**${title}**\n\n${table}`;
}
