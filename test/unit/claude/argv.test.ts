import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { promptCommand, shellWord } from "../../../src/adapter/job/command.ts";
import { type ArgvInput, claudeArgs } from "../../../src/claude/argv.ts";
import { parseClaudeConfig } from "../../../src/claude/config.ts";

const BASE = ["--print", "--output-format", "stream-json", "--verbose"];

function args(raw: Record<string, unknown> = {}, more: Partial<ArgvInput> = {}): string[] {
  return claudeArgs({
    config: parseClaudeConfig({ dangerouslySkipPermissions: false, ...raw }),
    sessionId: null,
    instructionsFile: null,
    addDir: null,
    mcpConfigFile: null,
    ...more,
  });
}

describe("arguments", () => {
  test("the least", () => {
    expect(args()).toEqual(BASE);
  });

  test("all of them, in order", () => {
    const raw = {
      dangerouslySkipPermissions: true,
      model: "claude-opus-5",
      effort: "high",
      maxTurnsPerRun: 7,
      extraArgs: ["--allowedTools", "Bash Read"],
    };
    const more = { instructionsFile: "/b/i.md", addDir: "/b", mcpConfigFile: "/tmp/prompt/mcp.json" };
    expect(args(raw, more)).toEqual([
      ...BASE,
      "--dangerously-skip-permissions",
      ...["--model", "claude-opus-5"],
      ...["--effort", "high"],
      ...["--max-turns", "7"],
      ...["--append-system-prompt-file", "/b/i.md"],
      ...["--add-dir", "/b"],
      ...["--mcp-config", "/tmp/prompt/mcp.json", "--strict-mcp-config"],
      ...["--allowedTools", "Bash Read"],
    ]);
  });

  test("a resumed session has its directories, but not its instructions again", () => {
    expect(args({}, { sessionId: "S-1", instructionsFile: "/b/i.md", addDir: "/b" })).toEqual([
      ...BASE,
      ...["--resume", "S-1"],
      ...["--add-dir", "/b"],
    ]);
  });

  test("permissions are skipped unless told otherwise", () => {
    expect(args({ dangerouslySkipPermissions: undefined })).toContain("--dangerously-skip-permissions");
  });

  test.each([[0], [""], [null], [undefined]])("maxTurnsPerRun %j is no limit", (maxTurnsPerRun) => {
    expect(args({ maxTurnsPerRun })).toEqual(BASE);
  });

  test("thinkingEffort is what the platform's form writes; effort wins", () => {
    expect(args({ thinkingEffort: "low" })).toEqual([...BASE, "--effort", "low"]);
    expect(args({ thinkingEffort: "low", effort: "high" })).toEqual([...BASE, "--effort", "high"]);
  });

  test("on Bedrock, ids of the Anthropic API are left out, others are not", () => {
    const env = { CLAUDE_CODE_USE_BEDROCK: "true" };
    expect(args({ env, model: "claude-opus-5" })).toEqual(BASE);
    for (const model of ["us.anthropic.claude-opus-4-7", "arn:aws:bedrock:eu:1:x", "opus"]) {
      expect(args({ env, model })).toEqual([...BASE, "--model", model]);
    }
  });
});

describe("command", () => {
  test("Claude takes the shell's place and reads the prompt", () => {
    expect(promptCommand("claude", ["--print", "it's"])).toEqual([
      "sh",
      "-c",
      "exec claude '--print' 'it'\\''s' < /tmp/prompt/prompt.txt",
    ]);
  });

  test.each(["", " ", "a b", "'", "''", "$HOME", "`id`", "$(id)", "a\nb", "\\", '"', "*", "!x", "🚀", "-n"])(
    "a real shell reads %j as one word",
    (word) => {
      const { stdout } = spawnSync("sh", ["-c", `printf '%s' ${shellWord(word)}`], { encoding: "utf8" });
      expect(stdout).toBe(word);
    },
  );

  describe("run by a real shell", () => {
    let directory: string;
    beforeAll(() => {
      directory = mkdtempSync(join(tmpdir(), "argv-"));
      writeFileSync(join(directory, "prompt.txt"), "the prompt");
      writeFileSync(join(directory, "claude"), '#!/bin/sh\necho "$$ $1 $(cat)"\nexit 7\n', { mode: 0o755 });
    });
    afterAll(() => rmSync(directory, { recursive: true }));

    test("Claude has the shell's process id, so that SIGTERM reaches it; the prompt on stdin; its own exit status", () => {
      const [shell = "", flag = "", script = ""] = promptCommand("claude", ["it's"]);
      const local = script.replace("/tmp/prompt", directory);
      const env = { ...process.env, PATH: `${directory}:${process.env.PATH}` };
      const { pid, status, stdout } = spawnSync(shell, [flag, local], { encoding: "utf8", env });
      expect(stdout).toBe(`${pid} it's the prompt\n`);
      expect(status).toBe(7);
    });
  });
});
