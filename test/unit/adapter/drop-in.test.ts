/** `docs/drop-in.md` promises that each behaviour has a test: the tests that it names must be there. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = new URL("../../..", import.meta.url).pathname;
const text = readFileSync(join(root, "docs/drop-in.md"), "utf8");

interface Row {
  readonly behaviour: string;
  readonly cell: string;
}

/** The rows of every table whose last column is "Test". */
function rowsOf(markdown: string): Row[] {
  const rows: Row[] = [];
  let isTestTable = false;
  for (const line of markdown.split("\n")) {
    if (!line.startsWith("|")) {
      isTestTable = false;
      continue;
    }
    const cells = line.split(/(?<!\\)\|/).slice(1, -1);
    const cell = cells.at(-1)?.trim() ?? "";
    if (cell === "Test") isTestTable = true;
    else if (isTestTable && !/^-+$/.test(cell)) rows.push({ behaviour: cells.at(-2)?.trim() ?? "", cell });
  }
  return rows;
}

function fileOf(name: string): string {
  if (name === "real-cli") return join(root, "test/claude/claude.test.ts");
  return join(root, "test", name.startsWith("e2e/") ? `${name}.test.ts` : `unit/${name}.test.ts`);
}

/** What is wrong with a row: empty when the tests that it names are there. */
function wrongWith({ behaviour, cell }: Row): string[] {
  if (behaviour === "") return [`a row without a behaviour: ${cell}`];
  if (/^not: because \S/.test(cell)) return [];
  const references = [...cell.matchAll(/`([a-z0-9-]+(?:\/[a-z0-9-]+)?)`((?:,? "[^"]+")+)/g)];
  if (references.length === 0) return [`${behaviour}: no test is named in: ${cell}`];
  return references.flatMap(([, name = "", quoted = ""]) => {
    if (!existsSync(fileOf(name))) return [`${behaviour}: there is no ${fileOf(name)}`];
    const source = readFileSync(fileOf(name), "utf8");
    const titles = [...quoted.matchAll(/"([^"]+)"/g)].map(([, title = ""]) => title);
    return titles.filter((title) => !source.includes(title)).map((title) => `${behaviour}: ${name} has no "${title}"`);
  });
}

test("each behaviour in docs/drop-in.md names tests that are there, or says why there is none", () => {
  const rows = rowsOf(text);
  expect(rows.length).toBeGreaterThan(150);
  expect(rows.flatMap(wrongWith)).toEqual([]);
});
