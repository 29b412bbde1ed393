import { readFileSync } from "node:fs";
import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import type { RunOutcome } from "../../../src/adapter/definition.ts";
import { type ClaudeConfig, parseClaudeConfig } from "../../../src/claude/config.ts";
import { ClaudeResultParser, type ClaudeVerdict } from "../../../src/claude/stream-json.ts";
import type { RunEnd } from "../../../src/engine/index.ts";

export function recording(name: string): string[] {
  const url = new URL(`../../fixtures/claude-stream-json/${name}.jsonl`, import.meta.url);
  return readFileSync(url, "utf8").split("\n").slice(0, -1);
}

/** Exit code and stderr of a recording. */
export function recordedEnd(name: string): { exitCode: number; stderr: string } {
  const url = new URL("../../fixtures/claude-stream-json/index.json", import.meta.url);
  return JSON.parse(readFileSync(url, "utf8"))[name];
}

export interface Recording {
  readonly name: string;
  readonly lines: readonly string[];
  readonly exitCode: number;
  readonly stderr: string;
  /** The session that it was to resume. */
  readonly resumed: string | null;
}

/** All of them, of all versions. */
export function recordings(): readonly Recording[] {
  read ??= ["claude-stream-json", "claude-recordings"].flatMap(readFolder);
  return read;
}

let read: readonly Recording[] | undefined;

function readFolder(folder: string): Recording[] {
  const textOf = (file: string) => readFileSync(new URL(`../../fixtures/${folder}/${file}`, import.meta.url), "utf8");
  const index: Record<string, { exitCode: number; stderr: string }> = JSON.parse(textOf("index.json"));
  return Object.entries(index).map(([name, { exitCode, stderr }]) => ({
    name,
    lines: textOf(`${name}.jsonl`).split("\n").slice(0, -1),
    exitCode,
    stderr,
    resumed: /resumed|unknown-session/.test(name) ? "11111111-2222-3333-4444-555555555555" : null,
  }));
}

export function verdictOf(lines: readonly (string | object)[]): ClaudeVerdict {
  const parser = new ClaudeResultParser();
  for (const line of lines) parser.push(typeof line === "string" ? line : JSON.stringify(line));
  return parser.finish();
}

export function endOf(overrides: Partial<RunEnd> = {}): RunEnd {
  const exitCode = overrides.exitCode === undefined ? 0 : overrides.exitCode;
  return {
    kind: exitCode === 0 ? "succeeded" : "failed",
    exitCode,
    signal: null,
    reason: exitCode === 0 ? "Completed" : "Error",
    message: "",
    podName: "ac-agent-1-x7",
    container: "claude",
    startedAt: "2026-11-24T00:00:00Z",
    finishedAt: "2026-11-24T00:01:00Z",
    startFailure: null,
    jobCondition: null,
    ...overrides,
  };
}

export function contextOf(overrides: Partial<AdapterExecutionContext> = {}): AdapterExecutionContext {
  return {
    runId: "run-1",
    agent: { id: "agent-1", companyId: "company-1", name: "Ada", adapterType: "claude_k8s", adapterConfig: {} },
    runtime: { sessionId: null, sessionParams: null, sessionDisplayId: null, taskKey: null },
    config: { paperclipRuntimeSkills: [] },
    context: {},
    onLog: async () => {},
    ...overrides,
  };
}

export function outcomeOf(
  lines: readonly (string | object)[],
  overrides: Partial<RunOutcome<ClaudeConfig, ClaudeVerdict>> & { exitCode?: number | null } = {},
): RunOutcome<ClaudeConfig, ClaudeVerdict> {
  const { exitCode, ...rest } = overrides;
  return {
    kind: "ended",
    ctx: contextOf(),
    config: parseClaudeConfig({}),
    verdict: verdictOf(lines),
    end: endOf(exitCode === undefined ? {} : { exitCode }),
    sessionId: null,
    workingDir: "/paperclip",
    carry: {},
    adopted: false,
    namespace: "agents",
    jobName: "ac-agent-1-run-1-0ec508",
    elapsedMs: 61_000,
    lines: lines.length,
    characters: 1000,
    gaps: [],
    firstLine: null,
    lastLine: null,
    ...rest,
  };
}
