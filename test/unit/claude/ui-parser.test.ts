import { readFileSync } from "node:fs";
import vm from "node:vm";
import { build } from "esbuild";
import { beforeAll, describe, expect, test } from "vitest";
import { uiParserBuild } from "../../../scripts/bundles.ts";
import { parseStdoutLine } from "../../../src/claude/ui-parser.ts";
import { recording } from "./runs.ts";

const TS = "2026-11-24T00:00:00Z";
const parse = (event: unknown) => parseStdoutLine(typeof event === "string" ? event : JSON.stringify(event), TS);
const message = (type: string, ...content: unknown[]) => ({ type, message: { content } });

describe("transcript", () => {
  test.each(["plain text", "", "  ", "[1]", "null", "5", "{broken", '"x"'])("%j is plain output", (line) => {
    expect(parse(line)).toEqual([{ kind: "stdout", ts: TS, text: line }]);
  });

  test.each([
    { type: "rate_limit_event", rate_limit_info: {} },
    { type: "system", subtype: "status" },
    { type: "stream_event" },
    { type: "assistant", message: { content: [] } },
    { type: "assistant", message: { content: [{ type: "text", text: "" }] } },
    { type: "assistant" },
    { type: "user", message: { content: [{ type: "image" }] } },
    {},
  ])("%j shows as it is", (event) => {
    expect(parse(event)).toEqual([{ kind: "stdout", ts: TS, text: JSON.stringify(event) }]);
  });

  test("init", () => {
    const event = { type: "system", subtype: "init", model: "m", session_id: "S" };
    expect(parse(event)).toEqual([{ kind: "init", ts: TS, model: "m", sessionId: "S" }]);
    expect(parse({ type: "system", subtype: "init" })).toEqual([
      { kind: "init", ts: TS, model: "unknown", sessionId: "" },
    ]);
  });

  test("a retry shows as progress", () => {
    expect(parse(recording("auth-error")[1])).toEqual([
      { kind: "system", ts: TS, text: "API request failed (HTTP 401, authentication_failed), retry 1 of 1 in 0.5 s" },
    ]);
  });

  test("blocks of the assistant, in order", () => {
    expect(
      parse(
        message(
          "assistant",
          { type: "thinking", thinking: "hm" },
          { type: "text", text: "hi" },
          { type: "tool_use", id: "t1", name: "Bash", input: { command: "ls" } },
          { type: "tool_use", tool_use_id: "t2" },
          { type: "text", text: "" },
          null,
        ),
      ),
    ).toEqual([
      { kind: "thinking", ts: TS, text: "hm" },
      { kind: "assistant", ts: TS, text: "hi" },
      { kind: "tool_call", ts: TS, name: "Bash", toolUseId: "t1", input: { command: "ls" } },
      { kind: "tool_call", ts: TS, name: "unknown", toolUseId: "t2", input: {} },
    ]);
  });

  test("results of tools", () => {
    const parts = [{ type: "text", text: "a" }, { type: "image" }, { type: "text", text: "b" }];
    expect(
      parse(
        message(
          "user",
          { type: "text", text: "hello" },
          { type: "tool_result", tool_use_id: "t1", content: "out", is_error: true },
          { type: "tool_result", content: parts, is_error: "true" },
        ),
      ),
    ).toEqual([
      { kind: "user", ts: TS, text: "hello" },
      { kind: "tool_result", ts: TS, toolUseId: "t1", content: "out", isError: true },
      { kind: "tool_result", ts: TS, toolUseId: "", content: "a\nb", isError: false },
    ]);
  });

  test("the result", () => {
    expect(parse(recording("text").at(-1))).toEqual([
      {
        kind: "result",
        ts: TS,
        text: "I will look — ünïcödé 🚀",
        inputTokens: 25,
        outputTokens: 17,
        cachedTokens: 11,
        costUsd: 0.0004672,
        subtype: "success",
        isError: false,
        errors: [],
      },
    ]);
    const errors = ["a", { message: "b" }, { error: "c" }, { code: "d" }, { x: 1 }, 5, null];
    expect(parse({ type: "result", subtype: "error_x", is_error: true, errors })).toEqual([
      expect.objectContaining({ isError: true, errors: ["a", "b", "c", "d", '{"x":1}'], inputTokens: 0, costUsd: 0 }),
    ]);
  });

  test.each(["text", "tool", "max-turns", "auth-error", "model-not-found", "unknown-session", "resumed"])(
    "recording %s: every line has its place",
    (name) => {
      const kinds = recording(name).flatMap((line) => parse(line).map((entry) => entry.kind));
      expect(kinds.at(-1)).toBe("result");
      expect(kinds).not.toContain("stdout");
    },
  );
});

describe("as the host's browser runs it", () => {
  let source: string;
  beforeAll(async () => {
    const { outputFiles = [] } = await build({ ...uiParserBuild(), write: false });
    source = outputFiles[0]?.text ?? "";
  });

  /** The language alone: no require, process, console, fetch, timers; `globalThis` and `self` are taken away too. */
  function load(): typeof parseStdoutLine {
    const context = vm.createContext(Object.create(null));
    context.source = source;
    return vm.runInContext(
      `(() => {
        const module = { exports: {} };
        new Function("exports", "module", "self", "globalThis", '"use strict";{' + source + '\\n}')(
          module.exports, module, undefined, undefined,
        );
        return module.exports.parseStdoutLine;
      })()`,
      context,
    );
  }

  test("it is one CommonJS file without imports", () => {
    expect(source).not.toMatch(/\brequire\s*\(|^\s*import\b|\bimport\s*\(|^\s*export\b/m);
    expect(source.length).toBeLessThan(12_000);
  });

  test("it gives what the module gives, for every recorded line", () => {
    const inWorker = load();
    for (const name of ["text", "tool", "auth-error", "max-turns", "partial-messages"]) {
      for (const line of recording(name)) {
        expect(JSON.parse(JSON.stringify(inWorker(line, TS)))).toEqual(
          JSON.parse(JSON.stringify(parseStdoutLine(line, TS))),
        );
      }
    }
  });

  test("it keeps no state: the same line gives the same entries in any order", () => {
    const inWorker = load();
    const lines = recording("tool");
    const once = lines.map((line) => JSON.stringify(inWorker(line, TS)));
    const again = [...lines].reverse().map((line) => JSON.stringify(inWorker(line, TS)));
    expect(again.reverse()).toEqual(once);
  });

  test("it and what it imports need nothing beyond the language", () => {
    const folder = new URL("../../../src/claude/", import.meta.url);
    const imports = (file: string) =>
      [...readFileSync(new URL(file, folder), "utf8").matchAll(/^import (?!type )[^;]* from "(.*)";$/gm)].map(
        ([, from]) => from,
      );
    expect(imports("ui-parser.ts")).toEqual(["./describe-event.ts", "./event-line.ts"]);
    expect(imports("describe-event.ts")).toEqual(["../json/read-json.ts"]);
    expect(imports("event-line.ts")).toEqual(["../json/read-json.ts"]);
    expect(imports("../json/read-json.ts")).toEqual([]);
  });
});
