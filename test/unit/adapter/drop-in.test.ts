/** `test/drop-in/reference.md` promises that each behaviour has a test: the tests that it names must be there. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Row, readRows, referencesOf, root } from "../../drop-in/rows.ts";

/** What is wrong with a row: empty when the tests that it names are there. */
function wrongWith(row: Row): string[] {
  const { behaviour, cell } = row;
  if (behaviour === "") return [`a row without a behaviour: ${cell}`];
  if (/^not: because \S/.test(cell)) return [];
  const references = referencesOf(row);
  if (references.length === 0) return [`${behaviour}: no test is named in: ${cell}`];
  return references.flatMap(({ file, texts }) => {
    if (!existsSync(join(root, file))) return [`${behaviour}: there is no ${file}`];
    const source = readFileSync(join(root, file), "utf8");
    return texts.filter((text) => !source.includes(text)).map((text) => `${behaviour}: ${file} has no "${text}"`);
  });
}

test("each behaviour in test/drop-in/reference.md names tests that are there, or says why there is none", () => {
  const rows = readRows();
  expect(rows.length).toBeGreaterThan(150);
  expect(rows.flatMap(wrongWith)).toEqual([]);
});
