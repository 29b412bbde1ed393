/**
 * Transcripts: the host runs an adapter's parser in a web worker of its own making. Here is that worker's own source, as the installed
 * server has it, in a real browser where there is one, with our parser: as it is, and with the assignments repaired that throw.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import vm from "node:vm";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { uiParserBuild } from "../../scripts/bundles.ts";
import { parseStdoutLine } from "../../src/claude/ui-parser.ts";
import { recording } from "../unit/claude/runs.ts";
import { type Browser, CHROMIUM, openBrowser } from "./browser.ts";

const ASSETS = join(import.meta.dirname, "node_modules/@paperclipai/server/ui-dist/assets");
const TS = "2026-11-24T00:00:00Z";
const LINES = ["text", "tool", "auth-error", "max-turns", "partial-messages"].flatMap(recording);

let hostSource: string;
let repaired: string;
let parser: string;

beforeAll(async () => {
  hostSource = await readWorkerSource();
  // As upstream will have to: a property of its own hides the one that cannot be assigned.
  repaired = hostSource.replaceAll(
    /^self\.(\w+) = _undefined;$/gm,
    'Object.defineProperty(self, "$1", { value: undefined, configurable: true });',
  );
  const { outputFiles } = await build({ ...uiParserBuild(), write: false });
  parser = outputFiles?.[0]?.text ?? "";
});

/** It stands in one of the UI's files, as a template literal. */
async function readWorkerSource(): Promise<string> {
  for (const name of await readdir(ASSETS)) {
    if (!name.endsWith(".js")) continue;
    const text = await readFile(join(ASSETS, name), "utf8");
    const at = text.indexOf("self.caches = ");
    if (at < 0) continue;
    const literal = text.slice(text.lastIndexOf("`", at), unescapedEnd(text, at));
    return vm.runInNewContext(literal) as string;
  }
  throw new Error("the UI has no worker for parsers any more: look at how it runs them now");
}

function unescapedEnd(text: string, from: number): number {
  let end = from;
  do end = text.indexOf("`", end) + 1;
  while (text[end - 2] === "\\");
  return end;
}

interface Outcome {
  error?: string;
  entries: unknown[][];
}

/** As browsers have it; Node's own types have no web worker. */
interface BrowserWorker {
  onerror: (event: { message: string }) => void;
  onmessage: (event: { data: { type: string; message?: string; entries?: unknown[] } }) => void;
  postMessage(message: object): void;
}

/** What the host makes of the lines, with all workers' globals as they are in a browser: some cannot be assigned. */
type Run = (source: string) => Promise<Outcome>;

const inNode: Run = async (source) => {
  const outcome: Outcome = { entries: [] };
  class WorkerGlobalScope {
    get caches() {
      return {};
    }
    get indexedDB() {
      return {};
    }
    onmessage: ((event: { data: unknown }) => void) | null = null;
    postMessage(message: { type: string; entries?: unknown[]; message?: string }) {
      if (message.type === "result") outcome.entries.push(JSON.parse(JSON.stringify(message.entries)));
      if (message.type === "error") outcome.error = message.message ?? "";
    }
  }
  const self = new WorkerGlobalScope();
  try {
    vm.runInNewContext(source, { self });
  } catch (error) {
    return { ...outcome, error: String(error) };
  }
  self.onmessage?.({ data: { type: "init", source: parser } });
  for (const [id, line] of LINES.entries()) self.onmessage?.({ data: { type: "parse", id, line, ts: TS } });
  return outcome;
};

let browser: Browser | null = null;
afterAll(async () => {
  await browser?.close();
});

const inChromium: Run = async (source) => {
  browser ??= await openBrowser();
  const page = await browser.newPage();
  return await page.evaluate(
    ([worker, init, lines, ts]) =>
      new Promise<Outcome>((resolve) => {
        const { Worker } = globalThis as unknown as { Worker: new (url: string) => BrowserWorker };
        const entries: unknown[][] = [];
        const url = URL.createObjectURL(new Blob([worker], { type: "application/javascript" }));
        const started = new Worker(url);
        started.onerror = (event) => resolve({ error: event.message, entries });
        started.onmessage = ({ data }) => {
          if (data.type === "error") resolve({ error: data.message ?? "", entries });
          if (data.type === "result") entries.push(data.entries ?? []);
          if (entries.length === lines.length) resolve({ entries });
        };
        started.postMessage({ type: "init", source: init });
        for (const [id, line] of lines.entries()) started.postMessage({ type: "parse", id, line, ts });
      }),
    [source, parser, LINES, TS] as const,
  );
};

describe.each<[string, Run, boolean]>([
  ["in Node", inNode, true],
  ["in Chromium", inChromium, CHROMIUM !== undefined],
])("%s", (_, run, isThere) => {
  test.runIf(isThere)("the host's worker throws before it loads any parser: transcripts are raw lines", async () => {
    const { error, entries } = await run(hostSource);
    expect(error).toMatch(/TypeError: Cannot set property (caches|indexedDB)/);
    expect(entries).toEqual([]);
  });

  test.runIf(isThere)("once that is repaired, every recorded line is what the parser says", async () => {
    const { error, entries } = await run(repaired);
    expect(error).toBeUndefined();
    expect(entries).toEqual(LINES.map((line) => JSON.parse(JSON.stringify(parseStdoutLine(line, TS)))));
    const kinds = new Set(entries.flat().map((entry) => (entry as { kind: string }).kind));
    expect([...kinds]).toEqual(expect.arrayContaining(["init", "assistant", "tool_call", "tool_result", "result"]));
  });
});
