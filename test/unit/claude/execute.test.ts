/** The adapter as the host has it, over an embedded cluster whose `claude` prints what the real one was recorded to print. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type {
  AdapterExecutionContext,
  AdapterExecutionResult,
  AdapterInvocationMeta,
} from "@paperclipai/adapter-utils";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ContainerContext, EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { stopSharedEngines } from "../../../src/engine/index.ts";
import { createServerAdapter } from "../../../src/index.ts";
import { contextOf, recordedEnd, recording } from "./runs.ts";

const NAMESPACE = "agents";
let k8s: EmbeddedKubernetes;
let directory: string;
let kubeconfig: string;
let started: ContainerContext | null = null;
/** What the next Claude prints, if not a recording. */
let printed: readonly string[] = [];

beforeAll(async () => {
  k8s = await EmbeddedKubernetes.start({ timeScale: 20, delays: "fast", namespaces: [NAMESPACE] });
  k8s.addProgram("claude", async function* (container) {
    started = container;
    if (printed.length > 0) {
      yield* printed;
      return 0;
    }
    const name = container.env.RECORDING ?? "";
    const { exitCode, stderr } = recordedEnd(name);
    if (stderr !== "") yield stderr;
    for (const line of recording(name)) {
      yield line;
      await container.sleep(20);
    }
    return exitCode;
  });
  directory = await mkdtemp(join(tmpdir(), "claude-execute-"));
  kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: NAMESPACE });
});

afterAll(async () => {
  await stopSharedEngines();
  await k8s.stop();
  await rm(directory, { recursive: true });
});

let runs = 0;

async function execute(
  name: string,
  overrides: Partial<AdapterExecutionContext> = {},
  config: Record<string, unknown> = {},
) {
  const id = ++runs;
  const output: string[] = [];
  const events: string[] = [];
  const meta: AdapterInvocationMeta[] = [];
  const result: AdapterExecutionResult = await createServerAdapter().execute(
    contextOf({
      runId: `run-${id}`,
      agent: { id: `agent-${id}`, companyId: "company-1", name: "Ada", adapterType: "claude_k8s", adapterConfig: {} },
      config: {
        paperclipRuntimeSkills: [],
        kubeconfig,
        namespace: NAMESPACE,
        image: "claude:1",
        env: { RECORDING: name },
        ...config,
      },
      context: { taskId: "task-1" },
      signal: new AbortController().signal,
      onLog: async (_stream, chunk) => void output.push(chunk),
      onEvent: async ({ eventType }) => void events.push(eventType),
      onMeta: async (each) => void meta.push(each),
      ...overrides,
    }),
  );
  const lines = output
    .join("")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("[paperclip] "));
  const notes = output
    .join("")
    .split("\n")
    .filter((line) => line.startsWith("[paperclip] "));
  return { result, lines, notes, events, meta };
}

describe("every recording, through the whole adapter", () => {
  const success = {
    exitCode: 0,
    summary: "I will look — ünïcödé 🚀",
    usageBasis: "per_run",
    costUsd: expect.any(Number),
  };
  const expected: [string, object][] = [
    ["text", success],
    ["tool", success],
    ["partial-messages", success],
    ["resumed", { ...success, costUsd: 0.0004672 }],
    ["max-turns", { exitCode: 1, errorCode: "max_turns_exhausted", clearSession: true }],
    ["auth-error", { exitCode: 1, errorCode: "claude_auth_required" }],
    ["model-not-found", { exitCode: 1, errorCode: "model_not_found" }],
    ["unknown-session", { exitCode: 1, errorCode: "session_unavailable", clearSession: true }],
  ];

  test.each(expected)("%s", async (name, fields) => {
    const { result, lines, meta } = await execute(name);
    expect(result).toMatchObject(fields);
    // The host's transcript is made of these: raw, whole, once.
    const { stderr } = recordedEnd(name);
    expect(lines).toEqual([...(stderr === "" ? [] : [stderr]), ...recording(name)]);
    expect(meta).toHaveLength(1);
    expect(meta[0]?.commandArgs?.slice(0, 4)).toEqual(["--print", "--output-format", "stream-json", "--verbose"]);
    expect(JSON.stringify(result.resultJson).length).toBeLessThan(4000);
  });

  test("a retry of the API shows as an event", async () => {
    const { events } = await execute("auth-error");
    expect(events).toContain("claude.api_retry");
  });
});

test("what the host's database takes no JSON with is in no result, and in no event", async () => {
  const bad = "a\0b\ud83dc";
  const lines = [
    { type: "system", subtype: "init", session_id: "S", model: "m", mcp_servers: [{ name: bad, status: "failed" }] },
    {
      type: "result",
      subtype: "success",
      is_error: false,
      num_turns: 1,
      result: bad,
      structured_output: { [bad]: [bad] },
      session_id: bad,
    },
  ];
  printed = lines.map((line) => JSON.stringify(line));
  const told: unknown[] = [];
  const onEvent = async (event: unknown) => void told.push(event);
  const { result } = await execute("text", { onEvent });
  printed = [];
  expect(result.summary).toBe("a\ufffdb\ufffdc");
  expect(result.resultJson?.structured_output).toEqual({ "a\ufffdb\ufffdc": ["a\ufffdb\ufffdc"] });
  expect(told).not.toEqual([]);
  expect(JSON.stringify([result, told])).not.toMatch(/\\u0000|\\ud[89a-f]/);
});

describe("what reaches the container", () => {
  test("prompt, arguments and MCP servers; tokens in no manifest and no meta", async () => {
    const runtimeMcp = {
      getServers: () => [
        { name: "apps", url: "http://paperclip:3100/mcp", token: "mcp-canary-token", connectionId: "c-1" },
      ],
    };
    const { result, meta } = await execute(
      "text",
      { runtimeMcp },
      { promptTemplate: "Do {{context.taskId}}.", model: "m-1" },
    );
    expect(result.exitCode).toBe(0);
    const container = started as ContainerContext;
    expect(container.command.join(" ")).toContain("exec claude '--print' '--output-format'");
    expect(container.files.readText("/tmp/prompt/prompt.txt")).toBe("Do task-1.");
    expect(JSON.parse(container.files.readText("/tmp/prompt/mcp.json"))).toMatchObject({
      mcpServers: { apps: { headers: { Authorization: "Bearer mcp-canary-token" } } },
    });
    expect(JSON.stringify([container.command, container.env, meta, result])).not.toContain("mcp-canary-token");
  });

  test("a session is resumed where it was", async () => {
    const sessionId = "84d28dd4-d4ec-4783-aaef-d24caf95d578";
    const runtime = {
      sessionId,
      sessionParams: { sessionId, cwd: "/paperclip" },
      sessionDisplayId: sessionId,
      taskKey: null,
    };
    const { result } = await execute("resumed", { runtime });
    expect(started?.command.join(" ")).toContain(`'--resume' '${sessionId}'`);
    expect(result.sessionParams).toMatchObject({ sessionId, cwd: "/paperclip" });
  });

  test("a wrong key is an error that names it, before any Job", async () => {
    const { result } = await execute("text", {}, { maxTurnsPerRun: "many" });
    expect(result.errorMessage).toContain("maxTurnsPerRun");
    expect(result.executionRecovery).toEqual({ kind: "bootstrap", providerWorkStarted: false });
    expect(k8s.objects.list("jobs", NAMESPACE)).toEqual([]);
  });

  test.each([
    ["promptTemplate", { promptTemplate: "a\0b" }],
    ["bootstrapPromptTemplate", { bootstrapPromptTemplate: "a\0b" }],
    ["instructionsFilePath", { instructionsFilePath: "/a\0b" }],
    ["cwd", { cwd: "/a\0b" }],
    ["model", { model: "a\0b" }],
    ["extraArgs", { extraArgs: ["--x", "a\0b"] }],
    ["env.TOKEN", { env: { TOKEN: "a\0b" } }],
    ["mcpServers.apps", { mcpServers: { apps: { command: "a\0b" } } }],
    // Half a surrogate pair: the API server would take another text.
    ["promptTemplate", { promptTemplate: "a\ud83db" }],
    ["model", { model: "a\udc00b" }],
    ["extraArgs", { extraArgs: ["--x", "a\ud83d"] }],
    ["env.TOKEN", { env: { TOKEN: "a\ud83db" } }],
    ["mcpServers.apps", { mcpServers: { apps: { command: "x", args: ["a\ud83db"] } } }],
  ])("what no process can take in %s is an error that names it, before any Job: %j", async (key, config) => {
    const { result } = await execute("text", {}, config);
    expect(result).toMatchObject({ errorCode: "k8s_config_invalid", executionRecovery: { kind: "bootstrap" } });
    expect(result.errorMessage?.replaceAll('"', "")).toContain(key);
    expect(k8s.objects.list("jobs", NAMESPACE)).toEqual([]);
  });

  test("a NUL in what the host hands over for one run is replaced, and said", async () => {
    const instructionsFilePath = join(directory, "instructions.md");
    await writeFile(instructionsFilePath, "Be\0 brief.");
    const context = {
      taskId: "task-1",
      wakeReason: "woken\0up",
      paperclipSessionHandoffMarkdown: "Handed\0over.",
      paperclipTaskMarkdown: "The\0task.",
      paperclipWake: { reason: "comment", issue: { id: "i-1", title: "A\0title" } },
      paperclipWorkspace: { cwd: "/paperclip/w\0x" },
    };
    const { result, meta, notes } = await execute("text", { context }, { instructionsFilePath });
    expect(result.exitCode).toBe(0);
    const container = started as ContainerContext;
    const prompt = container.files.readText("/tmp/prompt/prompt.txt");
    expect(prompt).toContain("Handed\ufffdover.");
    expect(prompt).toContain("The\ufffdtask.");
    expect(container.env.PAPERCLIP_WAKE_REASON).toBe("woken\ufffdup");
    expect(container.files.readText("/tmp/prompt/agent-instructions.md")).toContain("Be\ufffd brief.");
    expect(notes).toContain("[paperclip] NUL characters are replaced in the prompt");
    const { prompt: shown = "", commandArgs = [] } = meta[0] ?? {};
    for (const each of [prompt, shown, ...commandArgs, ...container.command, ...Object.values(container.env)]) {
      expect(each).not.toContain("\0");
    }
    expect(JSON.stringify([result, meta])).not.toContain("u0000");
  });

  test("half a character in it is replaced, too", async () => {
    const context = {
      taskId: "task-1",
      wakeReason: "woken\ud83dup",
      paperclipTaskMarkdown: "The\udc00task.",
      paperclipWorkspace: { cwd: "/paperclip/w\ud83dx" },
    };
    const { result, meta, notes } = await execute("text", { context });
    expect(result.exitCode).toBe(0);
    const container = started as ContainerContext;
    expect(container.env.PAPERCLIP_WAKE_REASON).toBe("woken\ufffdup");
    expect(container.files.readText("/tmp/prompt/prompt.txt")).toContain("The\ufffdtask.");
    expect(notes).toContain("[paperclip] Halves of characters are replaced in the prompt");
    // JSON escapes them alone; PostgreSQL refuses such JSON.
    expect(JSON.stringify([result, meta, container.command, container.env])).not.toMatch(/\\ud[89a-f]/);
  });
});
