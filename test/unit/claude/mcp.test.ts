import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { readInstructions } from "../../../src/claude/instructions.ts";
import { mcpConfig, readBaseline, readMcpServers } from "../../../src/claude/mcp.ts";

const directory = mkdtempSync(join(tmpdir(), "mcp-"));
afterAll(() => rmSync(directory, { recursive: true }));

const same = (url: string) => url;
const app = (name: string, connectionId: string) => ({
  name,
  url: `http://127.0.0.1/${connectionId}`,
  token: "t0ken",
  connectionId,
});

describe("MCP servers", () => {
  test("none: no file", () => {
    expect(mcpConfig({}, {}, [], same)).toBeNull();
  });

  test("the agent's own over the baseline, those of the run over both", () => {
    const baseline = { a: { command: "baseline" }, b: { command: "baseline" }, c: { command: "baseline" } };
    const configured = { b: { command: "own" }, c: { command: "own" } };
    const reachable = (url: string) => url.replace("127.0.0.1", "paperclip.svc");
    expect(JSON.parse(mcpConfig(baseline, configured, [app("c", "x1")], reachable) ?? "")).toEqual({
      mcpServers: {
        a: { command: "baseline" },
        b: { command: "own" },
        c: { type: "http", url: "http://paperclip.svc/x1", headers: { Authorization: "Bearer t0ken" } },
      },
    });
  });

  test("connections with one name are all there", () => {
    const assigned = [app("gh", "0123456789"), app("gh", "0123456789ab"), app("gh", "01234567zz")];
    const { mcpServers } = JSON.parse(mcpConfig({}, {}, assigned, same) ?? "");
    expect(Object.keys(mcpServers)).toEqual(["gh", "gh-01234567", "gh-01234567-2"]);
  });

  test.each([
    ["an object", { a: { command: "x" } }],
    ["an .mcp.json", { mcpServers: { a: { command: "x" } } }],
    ["a text", '{"a":{"command":"x"}}'],
    ["the text of an .mcp.json", '{"mcpServers":{"a":{"command":"x"}}}'],
  ])("given as %s", (_what, raw) => {
    expect(readMcpServers(raw)).toEqual({ a: { command: "x" } });
  });

  test.each([undefined, null, "", " \n", {}, "{}"])("%j: none", (raw) => {
    expect(readMcpServers(raw)).toEqual({});
  });

  test("an error never shows what may be a token", () => {
    for (const raw of [
      { a: { headers: { Authorization: "Bearer s3cret" } } },
      { a: "s3cret" },
      '{"a": s3cret}',
      ["s3cret"],
    ]) {
      try {
        readMcpServers(raw);
        expect.unreachable();
      } catch (error) {
        expect(`${error} ${JSON.stringify(error)}`).not.toContain("s3cret");
      }
    }
  });
});

describe("servers for all agents", () => {
  test("a file, no file, a broken file", async () => {
    const path = join(directory, ".mcp.json");
    expect(await readBaseline(path)).toBeNull();
    writeFileSync(path, '{"mcpServers":{"a":{"url":"http://x"}}}');
    expect(await readBaseline(path)).toEqual({ servers: { a: { url: "http://x" } }, problem: null });
    writeFileSync(path, "{");
    expect(await readBaseline(path)).toMatchObject({ servers: {}, problem: expect.stringContaining(path) });
  });

  // Agents write to the shared volume, too.
  test.each<[string, (path: string) => void, RegExp]>([
    ["a pipe that no one writes to", (path) => execFileSync("mkfifo", [path]), /a pipe, a socket or a device/],
    ["a directory", (path) => mkdirSync(path), /EISDIR/],
    ["a file of 9 MB", (path) => truncateSync(path, 9e6), /9000000 bytes/],
  ])("%s in its place is reported, and is not waited for", async (what, make, why) => {
    const path = join(directory, what);
    if (what.startsWith("a file")) writeFileSync(path, "");
    make(path);
    expect(await readBaseline(path)).toEqual({ servers: {}, problem: expect.stringMatching(why) });
    expect((await readInstructions(path, [], new Set())).problem).toMatch(why);
  });
});
