/** The tables of `reference.md`: a behaviour of the former adapter, and the tests that hold it here. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const root = join(import.meta.dirname, "../..");

export interface Row {
  readonly section: string;
  readonly behaviour: string;
  readonly cell: string;
}

/** A file of tests, and texts that stand in it: a test's name, a row of its table, an assertion. */
export interface Reference {
  /** From the repository's root. */
  readonly file: string;
  readonly texts: readonly string[];
}

/** The rows of every table whose last column is "Test". */
export function readRows(): Row[] {
  const rows: Row[] = [];
  let section = "";
  let isTestTable = false;
  for (const line of readFileSync(join(import.meta.dirname, "reference.md"), "utf8").split("\n")) {
    section = /^#+ (.*)$/.exec(line)?.[1] ?? section;
    if (!line.startsWith("|")) {
      isTestTable = false;
      continue;
    }
    const cells = line.split(/(?<!\\)\|/).slice(1, -1);
    const cell = cells.at(-1)?.trim() ?? "";
    if (cell === "Test") isTestTable = true;
    else if (isTestTable && !/^-+$/.test(cell)) rows.push({ section, behaviour: cells.at(-2)?.trim() ?? "", cell });
  }
  return rows;
}

export function referencesOf({ cell }: Row): Reference[] {
  const found = cell.matchAll(/`([a-z0-9-]+(?:\/[a-z0-9-]+)?)`((?:,? "[^"]+")+)/g);
  return [...found].map(([, name = "", quoted = ""]) => ({
    file: fileOf(name),
    texts: [...quoted.matchAll(/"([^"]+)"/g)].map(([, text = ""]) => text),
  }));
}

function fileOf(name: string): string {
  if (name === "real-cli") return "test/claude/claude.test.ts";
  return name.startsWith("e2e/") ? `test/${name}.test.ts` : `test/unit/${name}.test.ts`;
}
