import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { PrepareInput } from "../../../src/adapter/definition.ts";
import { type ClaudeConfig, parseClaudeConfig } from "../../../src/claude/config.ts";
import { prepareClaude } from "../../../src/claude/prepare.ts";
import { pathComponent, preparePromptBundle } from "../../../src/claude/prompt-bundle.ts";
import { skillSnapshot } from "../../../src/claude/skills.ts";
import { contextOf } from "./runs.ts";

let shared: string;
let outside: string;

beforeEach(() => {
  shared = mkdtempSync(join(tmpdir(), "shared-"));
  outside = mkdtempSync(join(tmpdir(), "outside-"));
  vi.stubEnv("PAPERCLIP_HOME", shared);
  vi.stubEnv("PAPERCLIP_INSTANCE_ID", "default");
});

afterEach(() => {
  vi.unstubAllEnvs();
  for (const directory of [shared, outside]) rmSync(directory, { recursive: true });
});

function skill(root: string, name: string, text = `# ${name}`) {
  const source = join(root, "skills", name);
  mkdirSync(join(source, "scripts"), { recursive: true });
  writeFileSync(join(source, "SKILL.md"), text);
  writeFileSync(join(source, "scripts", "run.sh"), "echo hi");
  return { key: `acme/tools/${name}`, runtimeName: name, source };
}

function inputOf(
  raw: Record<string, unknown> = {},
  more: Partial<PrepareInput<ClaudeConfig>> = {},
): PrepareInput<ClaudeConfig> {
  return {
    ctx: contextOf({ config: { paperclipRuntimeSkills: [], ...raw } }),
    config: parseClaudeConfig(raw),
    sessionId: null,
    workingDir: "/paperclip",
    hasDataVolume: true,
    reachableUrl: (url) => url,
    carriesInUse: [],
    signal: new AbortController().signal,
    ...more,
  };
}

const desired = (...names: string[]) => ({ desiredSkills: names.map((name) => `acme/tools/${name}`) });

describe("what a run gets", () => {
  test("skills and instructions by a bundle on the shared volume", async () => {
    const instructionsFilePath = join(shared, "agents", "AGENTS.md");
    mkdirSync(join(shared, "agents"));
    writeFileSync(instructionsFilePath, "Be kind.");
    const raw = {
      instructionsFilePath,
      paperclipRuntimeSkills: [skill(shared, "alpha"), skill(outside, "beta"), skill(shared, "gamma")],
      paperclipSkillSync: desired("alpha", "beta"),
    };
    const prepared = await prepareClaude(inputOf(raw), shared);
    const addDir = prepared.commandArgs[prepared.commandArgs.indexOf("--add-dir") + 1] ?? "";
    const instructionsFile =
      prepared.commandArgs[prepared.commandArgs.indexOf("--append-system-prompt-file") + 1] ?? "";
    expect(addDir).toMatch(/\/instances\/default\/companies\/company-1\/claude-prompt-cache\/[0-9a-f]{64}$/);
    expect(instructionsFile).toBe(join(addDir, "agent-instructions.md"));
    const text = readFileSync(instructionsFile, "utf8");
    expect(text).toContain("Be kind.");
    expect(text).toContain(join(shared, "agents"));
    expect(text).toContain("acme/tools/gamma — installed, not enabled for you");
    const skills = join(addDir, ".claude", "skills");
    expect(readdirSync(skills).sort()).toEqual(["alpha", "beta"]);
    expect(lstatSync(join(skills, "alpha")).isSymbolicLink()).toBe(true);
    // Outside of the volume there is nothing in the pod that a link could lead to.
    expect(lstatSync(join(skills, "beta")).isDirectory()).toBe(true);
    expect(readFileSync(join(skills, "beta", "scripts", "run.sh"), "utf8")).toBe("echo hi");
    expect(prepared.carry).toEqual({ promptBundleKey: addDir.split("/").at(-1) });
    expect(prepared.files).toEqual([]);
    expect(prepared.notices).toEqual([{ stream: "stdout", text: "Skills bundled (2): alpha, beta" }]);
    expect(prepared.commandNotes).toContain("Skills bundled (2): alpha, beta");
    expect(prepared.command.at(-1)).toContain("exec claude '--print' '--output-format'");
  });

  test("Paperclip's own skill without being asked for", async () => {
    const own = { ...skill(shared, "paperclip"), key: "paperclipai/paperclip/paperclip" };
    const prepared = await prepareClaude(inputOf({ paperclipRuntimeSkills: [own] }), shared);
    expect(prepared.commandNotes).toContain("Skills bundled (1): paperclip");
  });

  test("a resumed session: its bundle, not its instructions again", async () => {
    const prepared = await prepareClaude(inputOf({}, { sessionId: "S-1" }), shared);
    expect(prepared.commandArgs).toContain("--add-dir");
    expect(prepared.commandArgs).not.toContain("--append-system-prompt-file");
    expect(prepared.commandNotes).toContain("Resumes Claude session S-1");
  });

  test("without a shared volume: instructions by the run Secret, and a warning about skills", async () => {
    const instructionsFilePath = join(outside, "AGENTS.md");
    writeFileSync(instructionsFilePath, "Be kind.");
    const raw = {
      instructionsFilePath,
      paperclipRuntimeSkills: [skill(outside, "alpha")],
      paperclipSkillSync: desired("alpha"),
    };
    for (const [input, root] of [
      [inputOf(raw, { hasDataVolume: false }), shared],
      [inputOf(raw), join(outside, "elsewhere")],
    ] as const) {
      const prepared = await prepareClaude(input, root);
      expect(prepared.files?.[0]).toMatchObject({
        name: "agent-instructions.md",
        content: expect.stringContaining("Be kind."),
      });
      expect(prepared.commandArgs).toContain("/tmp/prompt/agent-instructions.md");
      expect(prepared.commandArgs).not.toContain("--add-dir");
      expect(prepared.notices?.[0]).toMatchObject({ stream: "stderr", text: expect.stringContaining("alpha") });
      expect(prepared.carry).toEqual({});
    }
    expect(existsSync(join(shared, "instances"))).toBe(false);
  });

  test("instructions that are not there: a warning, and the run goes on", async () => {
    const prepared = await prepareClaude(inputOf({ instructionsFilePath: join(shared, "none.md") }), shared);
    expect(prepared.notices?.[0]).toMatchObject({ stream: "stderr", text: expect.stringContaining("none.md") });
    expect(prepared.commandArgs).not.toContain("--append-system-prompt-file");
  });

  test("a skill without files is named and left out", async () => {
    const missing = {
      key: "acme/tools/lost",
      runtimeName: "lost",
      source: "/x",
      sourceStatus: "missing",
      missingDetail: "gone",
    };
    const raw = { paperclipRuntimeSkills: [missing], paperclipSkillSync: desired("lost") };
    const prepared = await prepareClaude(inputOf(raw), shared);
    expect(prepared.notices?.[0]?.text).toContain("acme/tools/lost has no files: gone");
    expect(prepared.commandNotes).toContain("Skills bundled (0): none");
  });

  test("MCP servers by the run Secret; no token elsewhere", async () => {
    writeFileSync(join(shared, ".mcp.json"), '{"mcpServers":{"base":{"command":"b"}}}');
    const assigned = { name: "apps", url: "http://127.0.0.1:3100/mcp", token: "s3cret", connectionId: "c-1" };
    const input = inputOf(
      { mcpServers: { own: { type: "http", url: "http://o", headers: { Authorization: "Bearer s3cret" } } } },
      { reachableUrl: (url) => url.replace("127.0.0.1:3100", "paperclip:3100") },
    );
    const ctx = { ...input.ctx, runtimeMcp: { getServers: () => [assigned] } };
    const { files = [], ...rest } = await prepareClaude({ ...input, ctx }, shared);
    expect(files.map((file) => file.name)).toEqual(["mcp.json"]);
    const { mcpServers } = JSON.parse(files[0]?.content ?? "");
    expect(Object.keys(mcpServers)).toEqual(["base", "own", "apps"]);
    expect(mcpServers.apps.url).toBe("http://paperclip:3100/mcp");
    expect(rest.commandArgs).toContain("--strict-mcp-config");
    expect(JSON.stringify(rest)).not.toContain("s3cret");
  });
});

describe("bundle", () => {
  const make = (skills: Parameters<typeof preparePromptBundle>[0]["skills"], instructions: string | null = null) =>
    preparePromptBundle({ companyId: "company-1", skills, instructions, sharedDirectory: shared });

  test("the key is the content: neither order, time nor place", async () => {
    const alpha = skill(shared, "alpha");
    const beta = skill(shared, "beta");
    const { key } = await make([alpha, beta], "I");
    expect((await make([beta, alpha], "I")).key).toBe(key);
    expect((await make([{ ...skill(outside, "alpha") }, beta], "I")).key).toBe(key);
    expect((await make([alpha, beta], "J")).key).not.toBe(key);
    expect((await make([alpha, beta])).key).not.toBe(key);
    expect((await make([alpha], "I")).key).not.toBe(key);
    writeFileSync(join(alpha.source, "scripts", "run.sh"), "echo ho");
    expect((await make([alpha, beta], "I")).key).not.toBe(key);
  });

  test("links are followed, loops end, dead links do not matter", async () => {
    const alpha = skill(shared, "alpha");
    symlinkSync(alpha.source, join(alpha.source, "self"));
    symlinkSync(join(shared, "nowhere"), join(alpha.source, "dead"));
    expect((await make([alpha])).problems).toEqual([]);
  });

  test("a skill is linked by its real path: the links that lead there may be missing in the pod", async () => {
    const { source } = skill(shared, "alpha");
    const link = join(outside, "skills");
    symlinkSync(join(shared, "skills"), link);
    const { directory } = await make([{ key: "acme/tools/alpha", runtimeName: "alpha", source: join(link, "alpha") }]);
    expect(readlinkSync(join(directory, ".claude", "skills", "alpha"))).toBe(realpathSync(source));
  });

  test("again, and at the same moment: one bundle, nothing half written", async () => {
    const skills = [skill(shared, "alpha"), skill(outside, "beta")];
    const bundles = await Promise.all(Array.from({ length: 8 }, () => make(skills, "I".repeat(100_000))));
    expect(new Set(bundles.map((bundle) => bundle.directory)).size).toBe(1);
    expect(bundles.flatMap((bundle) => bundle.problems)).toEqual([]);
    const { directory, instructionsFile } = bundles[0] as (typeof bundles)[0];
    expect(readdirSync(directory).sort()).toEqual([".claude", "agent-instructions.md"]);
    expect(readFileSync(instructionsFile ?? "", "utf8")).toHaveLength(100_000);
  });

  test("a skill that cannot be placed is reported, the others are there", async () => {
    const bad = { key: "acme/tools/bad", runtimeName: "../bad", source: join(shared, "skills") };
    const gone = { key: "acme/tools/gone", runtimeName: "gone", source: join(shared, "gone") };
    const bundle = await make([bad, gone, skill(shared, "alpha")]);
    expect(bundle.problems).toHaveLength(2);
    expect(readdirSync(join(bundle.directory, ".claude", "skills"))).toEqual(["alpha"]);
  });

  test.each(["", "  ", ".", "..", "a/b", "a\\b", "../a", "a\0b", "a..b"])("%j is no part of a path", (value) => {
    expect(() => pathComponent("company id", value)).toThrow(RangeError);
  });

  test("a company id that is none: refused before anything is written", async () => {
    await expect(
      preparePromptBundle({ companyId: "../x", skills: [], instructions: null, sharedDirectory: shared }),
    ).rejects.toThrow("company id");
  });
});

describe("skill list", () => {
  test("what is there, what is wanted, what is missing", async () => {
    const own = { ...skill(shared, "paperclip"), key: "paperclipai/paperclip/paperclip" };
    const snapshot = await skillSnapshot({
      agentId: "a",
      companyId: "c",
      adapterType: "claude_k8s",
      config: {
        paperclipRuntimeSkills: [skill(shared, "beta"), own, skill(shared, "alpha")],
        paperclipSkillSync: desired("alpha", "nowhere"),
      },
    });
    expect(snapshot).toMatchObject({ adapterType: "claude_k8s", supported: true, mode: "ephemeral" });
    expect(snapshot.desiredSkills).toEqual([
      "paperclipai/paperclip/paperclip",
      "acme/tools/alpha",
      "acme/tools/nowhere",
    ]);
    const states = Object.fromEntries(snapshot.entries.map((entry) => [entry.key, entry.state]));
    expect(states).toMatchObject({
      "acme/tools/alpha": "configured",
      "acme/tools/beta": "available",
      "acme/tools/nowhere": "missing",
      "paperclipai/paperclip/paperclip": "configured",
    });
    expect(snapshot.warnings.join()).toContain("acme/tools/nowhere");
    const keys = snapshot.entries.map((entry) => entry.key);
    expect(keys).toEqual([...keys].sort());
  });

  test("what lies in the agents' home by itself is shown, and not managed", async () => {
    const installed = join(shared, ".claude", "skills", "by-hand");
    mkdirSync(installed, { recursive: true });
    writeFileSync(join(installed, "SKILL.md"), "# By hand");
    const ctx = { agentId: "a", companyId: "c", adapterType: "claude_k8s", config: {} };
    const { entries } = await skillSnapshot(ctx, shared);
    expect(entries).toContainEqual(
      expect.objectContaining({
        key: "by-hand",
        state: "external",
        origin: "user_installed",
        managed: false,
        readOnly: true,
        locationLabel: "~/.claude/skills",
      }),
    );
  });
});

describe("bundles that nothing uses", () => {
  test("are deleted after a week, but for those that a Job names", async () => {
    const { cache } = await bundles();
    const old = new Date(Date.now() - 8 * 24 * 3_600_000);
    const young = new Date(Date.now() - 6 * 24 * 3_600_000);
    for (const [name, at] of [
      ["old", old],
      ["named", old],
      ["young", young],
    ] as const) {
      mkdirSync(join(cache, name, ".claude"), { recursive: true });
      utimesSync(join(cache, name), at, at);
    }
    const own = readdirSync(cache).filter((name) => !["old", "named", "young"].includes(name));
    utimesSync(join(cache, own[0] ?? ""), old, old);
    // The directory was looked at within this hour: another process looks again.
    vi.resetModules();
    const { prepareClaude } = await import("../../../src/claude/prepare.ts");
    await prepareClaude(inputOf({}, { carriesInUse: [{ promptBundleKey: "named" }, {}] }), shared);
    expect(readdirSync(cache).sort()).toEqual([...own, "named", "young"].sort());
  });

  /** The company's directory, with the bundle of one run in it. */
  async function bundles() {
    await prepareClaude(inputOf(), shared);
    const companies = join(shared, "instances", "default", "companies");
    const [company = ""] = readdirSync(companies);
    return { cache: join(companies, company, "claude-prompt-cache") };
  }
});
