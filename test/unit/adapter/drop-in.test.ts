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

const rows = rowsOf(text);

test("there is a table worth the name", () => expect(rows.length).toBeGreaterThan(150));

test.each(rows.map(({ behaviour, cell }) => [behaviour, cell] as const))("%s", (behaviour, cell) => {
  expect(behaviour).not.toBe("");
  if (/^not: because \S/.test(cell)) return;
  const references = [...cell.matchAll(/`([a-z0-9-]+(?:\/[a-z0-9-]+)?)`((?:,? "[^"]+")+)/g)];
  expect(references.length, `no test is named in: ${cell}`).toBeGreaterThan(0);
  for (const [, name = "", quoted = ""] of references) {
    expect(existsSync(fileOf(name)), fileOf(name)).toBe(true);
    const source = readFileSync(fileOf(name), "utf8");
    for (const [, title = ""] of quoted.matchAll(/"([^"]+)"/g)) expect(source, `${name} "${title}"`).toContain(title);
  }
});
