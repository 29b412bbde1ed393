/** docs/troubleshooting.md against the table that the code takes its codes from. */
import { readFileSync } from "node:fs";
import { expect, expectTypeOf, test } from "vitest";
import { FILE, troubleshooting } from "../../../scripts/troubleshooting.ts";
import type { EngineError } from "../../../src/engine/index.ts";
import type { ENGINE_ERRORS } from "../../../src/error-codes.ts";
import { ERROR_SECTIONS } from "../../../src/error-rows.ts";

test("the page is what the table says; `node scripts/troubleshooting.ts` writes it", () => {
  expect(readFileSync(FILE, "utf8")).toBe(troubleshooting());
});

test("each code has one row in its section, with words in each column", () => {
  for (const rows of Object.values(ERROR_SECTIONS)) {
    const codes = rows.map(({ code }) => code);
    expect(codes).toEqual([...new Set(codes)]);
    for (const { meaning, action } of rows) for (const text of [meaning, action]) expect(text).toMatch(/^.+\.$/);
  }
});

test("the library's errors are those of the table", () => {
  expectTypeOf<keyof typeof ENGINE_ERRORS>().toEqualTypeOf<EngineError["code"]>();
});
