/**
 * The real Claude Code CLI as the program of a container: a local process of the embedded kubelet that talks to a stand-in for
 * the Messages API on loopback. Everything between – Job, prompt, command, log, exit code, classification – is the adapter's.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, delimiter, join } from "node:path";
import type { AdapterExecutionContext, AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readEvent } from "../../src/claude/event-line.ts";
import { EmbeddedKubernetes } from "../../src/embedded/index.ts";
import { stopSharedEngines } from "../../src/engine/index.ts";
import { createServerAdapter } from "../../src/index.ts";
import { type Answer, type Asked, MessagesApi } from "./messages-api.ts";

/** A folder whose `claude` is the CLI to test: `npm run test:claude` says which. */
const CLAUDE_PATH = process.env.CLAUDE_PATH ?? join(import.meta.dirname, "node_modules/.versions/newest");
/** The newest; older ones say less, and end background commands with the turn. */
const isNewest = basename(CLAUDE_PATH) === "newest";
const has = { budget: basename(CLAUDE_PATH) !== "1.0" };

const NAMESPACE = "agents";
const HOME_CLAIM = "agents-home";
const API_KEY = "sk-ant-canary-0001";
let k8s: EmbeddedKubernetes;
let directory: string;
let kubeconfig: string;
let api: MessagesApi;
let answers: (asked: Asked) => Answer;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "claude-cli-"));
  // The CLI takes its own time, so the cluster's clock must not run faster than it.
  k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: [NAMESPACE] });
  kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: NAMESPACE });
  k8s.objects.create("persistentvolumeclaims", { metadata: { name: HOME_CLAIM, namespace: NAMESPACE } });
  k8s.addProgram("claude", {
    kind: "process",
    // There is no image: the CLI of this folder, and a directory in place of /paperclip.
    env: {
      PATH: [CLAUDE_PATH, process.env.PATH].join(delimiter),
      HOME: join(directory, "home"),
      // Claude Code refuses to skip permissions as root outside of a sandbox; a pod runs as user 1000.
      IS_SANDBOX: "1",
    },
    cwd: directory,
  });
});

afterAll(async () => {
  await stopSharedEngines();
  await k8s.stop();
  await rm(directory, { recursive: true, force: true });
});

beforeEach(async () => {
  api = await MessagesApi.start((asked) => answers(asked));
});

afterEach(async () => {
  await api.stop();
});

const text = (answer: string): Answer => ({ kind: "text", text: answer });
const error = (status: number, type: string, message: string, headers?: Record<string, string>): Answer => ({
  kind: "error",
  status,
  type,
  message,
  ...(headers ? { headers } : {}),
});

interface Done {
  readonly result: AdapterExecutionResult;
  readonly log: string;
  readonly events: readonly string[];
  readonly ms: number;
}

/** A volume that keeps sessions, as far as the adapter knows: the CLI's home is a directory of this machine anyway. */
const KEPT = { workspaceVolumeClaim: HOME_CLAIM, workspaceMountPath: "/paperclip" };

function evict(): void {
  const [pod] = k8s.objects
    .list("pods", NAMESPACE)
    .filter(({ status }) => (status as { phase?: string }).phase === "Running");
  k8s.evictPod(NAMESPACE, pod?.metadata.name ?? "");
}

let runs = 0;

interface Options {
  readonly config?: Record<string, unknown>;
  readonly env?: Record<string, string>;
  readonly sessionId?: string;
  readonly signal?: AbortSignal;
  readonly onLog?: (chunk: string) => void;
}

async function run({ config = {}, env = {}, sessionId, signal, onLog }: Options = {}): Promise<Done> {
  const id = ++runs;
  let log = "";
  const events: string[] = [];
  const ctx: AdapterExecutionContext = {
    runId: `run-${id}`,
    agent: { id: `agent-${id}`, companyId: "company-1", name: "Ada", adapterType: "claude_k8s", adapterConfig: {} },
    runtime: { sessionId: sessionId ?? null, sessionParams: null, sessionDisplayId: null, taskKey: null },
    config: {
      kubeconfig,
      namespace: NAMESPACE,
      image: "claude:1",
      paperclipRuntimeSkills: [],
      promptTemplate: "Say hello — ünïcödé 🚀, it's {{agent.name}}.",
      env: {
        ANTHROPIC_API_KEY: API_KEY,
        ANTHROPIC_BASE_URL: api.url,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
        CLAUDE_CODE_MAX_RETRIES: "1",
        DISABLE_AUTOUPDATER: "1",
        ...env,
      },
      ...config,
    },
    context: { taskId: "task-1" },
    signal: signal ?? new AbortController().signal,
    onCancellationReady: async () => {},
    onLog: async (_stream, chunk) => {
      log += chunk;
      onLog?.(chunk);
    },
    onEvent: async ({ eventType }) => void events.push(eventType),
  };
  const began = performance.now();
  const result = await createServerAdapter().execute(ctx);
  const ms = performance.now() - began;
  expect(log + JSON.stringify(result)).not.toContain(API_KEY);
  return { result, log, events, ms };
}

describe("Claude Code", () => {
  test("an answer: prompt in, text, usage, cost and session out", async () => {
    answers = () => text("Hello from the stand-in — ünïcödé 🚀");
    const { result } = await run();
    expect(result).toMatchObject({
      exitCode: 0,
      timedOut: false,
      summary: "Hello from the stand-in — ünïcödé 🚀",
      ...(isNewest ? { usage: { inputTokens: 30, cachedInputTokens: 11, outputTokens: 17 } } : {}),
      usageBasis: "per_run",
      provider: "anthropic",
    });
    expect(result.errorMessage ?? null).toBeNull();
    expect(result.sessionId).toMatch(/^[0-9a-f-]{36}$/);
    expect(result.costUsd).toBeGreaterThan(0);
    expect(api.asked.some(({ body }) => body.includes("Say hello — ünïcödé 🚀, it's Ada."))).toBe(true);
  });

  test("a tool: the command runs in the container, its failure is no failure of the run", async () => {
    answers = ({ body }) =>
      body.includes("tool_result") ? text("Done.") : { kind: "tool", command: "echo from-the-pod; exit 3" };
    const { result, log } = await run();
    expect(result).toMatchObject({ exitCode: 0, summary: "Done." });
    expect(log).toContain("from-the-pod");
    expect(log).toContain('"is_error":true');
  });

  test("a session goes on: same id, the former exchange is sent again, usage of this run only", async () => {
    answers = () => text("First answer.");
    const first = await run();
    answers = () => text("Second answer.");
    const second = await run({ sessionId: first.result.sessionId ?? "" });
    expect(second.result).toMatchObject({ exitCode: 0, summary: "Second answer.", sessionId: first.result.sessionId });
    expect(api.asked.some(({ body }) => body.includes("First answer."))).toBe(true);
    // Older versions count requests of their own too, and not the same in each run.
    if (!isNewest) return;
    expect(second.result.usage).toEqual(first.result.usage);
    expect(second.result.costUsd).toBeCloseTo(first.result.costUsd ?? 0, 9);
  });

  test("a session that is not there: the host is told to forget it", async () => {
    answers = () => text("never asked");
    const { result } = await run({ sessionId: "11111111-2222-3333-4444-555555555555" });
    expect(result).toMatchObject({ exitCode: 1, errorCode: "session_unavailable", clearSession: true });
    expect(api.asked).toEqual([]);
  });

  test("max turns", async () => {
    answers = () => ({ kind: "tool", command: "true" });
    const { result } = await run({ config: { maxTurnsPerRun: 2 } });
    expect(result).toMatchObject({ errorCode: "max_turns_exhausted", clearSession: true });
    // Older versions exit with 0.
    expect(result.errorMessage).toBeTruthy();
  });

  test("the model of the configuration is asked", async () => {
    answers = () => text("ok");
    await run({ config: { model: "claude-opus-4-6" } });
    expect(api.asked.map(({ model }) => model)).toContain("claude-opus-4-6");
  });

  test.each([
    ["401", error(401, "authentication_error", "invalid x-api-key"), "claude_auth_required", undefined],
    ["404", error(404, "not_found_error", "model: claude-nowhere"), "model_not_found", undefined],
    ["429", error(429, "rate_limit_error", "slow down"), "claude_transient_upstream", "transient_upstream"],
    ["529", error(529, "overloaded_error", "Overloaded"), "claude_transient_upstream", "transient_upstream"],
    ["500", error(500, "api_error", "Internal server error"), "claude_transient_upstream", "transient_upstream"],
  ])("%s of the API", async (_status, answer, errorCode, errorFamily) => {
    answers = () => answer;
    const { result } = await run();
    expect(result).toMatchObject({ exitCode: 1, errorCode, ...(errorFamily ? { errorFamily } : {}) });
    if (errorFamily === undefined) expect(result.errorFamily ?? null).toBeNull();
    expect(result.errorMessage).toBeTruthy();
  });

  test.runIf(isNewest)("a request that is retried with success: shown as progress, no failure", async () => {
    answers = ({ number }) => (number === 1 ? error(529, "overloaded_error", "Overloaded") : text("At last."));
    const { result, events } = await run();
    expect(result).toMatchObject({ exitCode: 0, summary: "At last." });
    expect(events).toContain("claude.api_retry");
    expect(events.indexOf("claude.api_answered")).toBeGreaterThan(events.indexOf("claude.api_retry"));
  });

  test("an answer that is cut off every time", async () => {
    answers = () => ({ kind: "cut", text: "Half an ans" });
    const { result } = await run();
    expect(result.exitCode).toBe(1);
    expect(result).toMatchObject({ errorCode: "claude_transient_upstream", errorFamily: "transient_upstream" });
  });

  test("Stop: SIGTERM reaches Claude, which ends at once, and the pod is gone", async () => {
    answers = () => ({ kind: "silence" });
    const abort = new AbortController();
    const asked = api.nextRequest();
    const running = run({ signal: abort.signal });
    await asked;
    const stoppedAt = performance.now();
    abort.abort(new Error("stopped by the board"));
    const { result } = await running;
    expect(result).toMatchObject({
      errorCode: "cancelled",
      resultJson: { executionCancellation: { state: "acknowledged" } },
    });
    // Its grace is 15 s.
    expect(performance.now() - stoppedAt).toBeLessThan(10_000);
    expect(k8s.objects.list("pods", NAMESPACE)).toEqual([]);
    expect(result.sessionId).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("evicted in a tool call: its session goes on in another pod, with the conversation", async () => {
    const wentAway = "The machine that you were running on went away";
    answers = ({ body }) => {
      if (body.includes(wentAway)) return text("Gone on.");
      return { kind: "tool", command: body.includes("tool_result") ? "sleep 300" : "echo the-first-step" };
    };
    let isEvicted = false;
    const { result, log } = await run({
      config: KEPT,
      onLog: (chunk) => {
        if (isEvicted || !chunk.includes("sleep 300")) return;
        isEvicted = true;
        evict();
      },
    });
    expect(result).toMatchObject({ exitCode: 0, summary: "Gone on." });
    expect(log).toContain(`the run goes on in its session ${result.sessionId}`);
    const resumed = api.asked.filter(({ body }) => body.includes(wentAway)).at(-1)?.body ?? "";
    expect(resumed).toContain("Say hello — ünïcödé 🚀, it's Ada.");
    expect(resumed).toContain("the-first-step");
    expect(resumed).toContain("tool_result");
    expect(result.usage?.outputTokens).toBeGreaterThan(0);
    expect(result.costUsd).toBeGreaterThan(0);
  });

  test("evicted before its first answer: it starts from its prompt", async () => {
    let isEvicted = false;
    answers = () => (isEvicted ? text("From the beginning.") : { kind: "silence" });
    const announced = Promise.withResolvers<void>();
    const asked = api.nextRequest();
    const running = run({
      config: KEPT,
      onLog: (chunk) => {
        if (chunk.includes('"subtype":"init"')) announced.resolve();
      },
    });
    await Promise.all([asked, announced.promise]);
    isEvicted = true;
    evict();
    const { result, log } = await running;
    expect(result).toMatchObject({ exitCode: 0, summary: "From the beginning." });
    expect(log).toContain("the run goes on from its beginning");
  });

  test("a deadline of the Job", async () => {
    answers = () => ({ kind: "silence" });
    const { result } = await run({ config: { timeoutSec: 3 } });
    expect(result).toMatchObject({
      timedOut: true,
      errorCode: "timeout",
      errorMessage: expect.stringMatching(/^Timed out after 3s\b.* \(timeout\)$/),
    });
  });

  test("a prompt of 300 KiB arrives whole", async () => {
    answers = () => text("Read.");
    const end = "the very end";
    const { result } = await run({ config: { promptTemplate: `${"Look. ".repeat(50_000)}${end}` } });
    expect(result).toMatchObject({ exitCode: 0, summary: "Read." });
    expect(api.asked.some(({ body }) => body.includes(end))).toBe(true);
  });

  test("MCP servers of the configuration are known to Claude", async () => {
    answers = () => text("ok");
    const { log } = await run({ config: { mcpServers: { nowhere: { type: "http", url: "http://127.0.0.1:9/mcp" } } } });
    expect(log).toContain('"mcp_servers":[{"name":"nowhere"');
  });

  test("MCP servers that did not come up are told", async () => {
    answers = () => text("ok");
    const { result, events } = await run({
      config: { mcpServers: { nowhere: { type: "http", url: "http://127.0.0.1:9/mcp" } } },
    });
    expect(result.exitCode).toBe(0);
    expect(events).toContain("claude.parts_missing");
  });

  test("the prompt is what the model reads, without a dash before it", async () => {
    answers = () => text("ok");
    await run({ config: { promptTemplate: "Say exactly this." } });
    expect(api.asked.some(({ body }) => body.includes('"Say exactly this."'))).toBe(true);
  });

  test("terminal sequences of a tool stay in its output", async () => {
    answers = ({ body }) =>
      body.includes("tool_result") ? text("Shown.") : { kind: "tool", command: "printf '\\033[2J\\033]0;t\\007red'" };
    const { result, log } = await run();
    expect(result).toMatchObject({ exitCode: 0, summary: "Shown." });
    const lines = log.split("\n").filter((line) => line !== "" && !line.startsWith("[paperclip] "));
    for (const line of lines) expect(readEvent(line), line).not.toBeNull();
  });

  test.each([
    ["a session that is too long", 400, "invalid_request_error", "prompt is too long: 205316 tokens > 200000 maximum"],
    [
      "an image that is too large",
      400,
      "invalid_request_error",
      "messages.3.content.1.image.source.base64: image exceeds 5 MB maximum: 6000000 bytes > 5242880 bytes",
    ],
    [
      "a tool call without its result",
      400,
      "invalid_request_error",
      "messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
    ],
  ])("%s is cleared", async (_what, status, type, message) => {
    answers = () => error(status, type, message);
    const { result } = await run();
    expect(result).toMatchObject({ exitCode: 1, clearSession: true });
    expect(result.errorFamily ?? null).toBeNull();
    expect(result.summary ?? null).toBeNull();
  });

  test("a parameter that the API refuses says nothing about the session", async () => {
    answers = () => error(400, "invalid_request_error", "top_k: Input should be greater than or equal to 0");
    const { result } = await run();
    expect(result.exitCode).toBe(1);
    expect(result.clearSession ?? false).toBe(false);
  });

  test.each([
    [
      "a cap that ends",
      "You have reached your specified API usage limits. You will regain access on 2099-12-01 at 00:00 UTC.",
      "provider_quota",
      "2099-12-01T00:00:00.000Z",
    ],
    ["no money", "Your credit balance is too low to access the Anthropic API.", undefined, undefined],
  ])("a limit of money in the words of a 400: %s", async (_what, message, errorCode, retryNotBefore) => {
    answers = () => error(400, "invalid_request_error", message);
    const { result } = await run();
    expect([result.errorCode, result.retryNotBefore]).toEqual([errorCode, retryNotBefore]);
    expect(result.errorMessage).toBeTruthy();
  });

  test.each([
    ["nothing", "text/html", ""],
    ["a page", "text/html", "<html><body>Welcome</body></html>"],
  ])("a gateway that answers 200 with %s is trouble that passes", async (_what, contentType, body) => {
    answers = () => ({ kind: "foreign", contentType, body });
    const { result } = await run();
    expect(result.errorMessage).toBeTruthy();
    expect(result.errorFamily).toBe("transient_upstream");
  });

  test("a refusal by policy is told as one, and not tried again", async () => {
    answers = () => ({ kind: "text", text: "", stopReason: "refusal" });
    const { result } = await run();
    expect(result).toMatchObject({ errorCode: "claude_refusal", errorFamily: "model_refusal" });
  });

  test("an answer that reaches the limit of tokens is not tried again", async () => {
    answers = () => ({ kind: "text", text: "Half an ans", stopReason: "max_tokens" });
    const { result } = await run();
    expect(result.errorMessage).toBeTruthy();
    expect(result.errorFamily ?? null).toBeNull();
  });

  test("no connection to the API", async () => {
    const { result } = await run({ env: { ANTHROPIC_BASE_URL: "http://127.0.0.1:9" } });
    expect(result).toMatchObject({ exitCode: 1, errorFamily: "transient_upstream" });
  });

  test.runIf(has.budget)("the operator's budget is not continued", async () => {
    answers = () => ({ kind: "tool", command: "true" });
    const { result } = await run({ config: { extraArgs: ["--max-budget-usd", "0.0003"] } });
    expect(result.errorMessage).toBeTruthy();
    expect(result).toMatchObject({ errorCode: "budget_exhausted", resultJson: { stopReason: "budget_exhausted" } });
    expect(result.resultJson).not.toHaveProperty("conversationContinuation");
  });

  test.runIf(has.budget)("an answer by a JSON schema", async () => {
    const schema = '{"type":"object","properties":{"colour":{"type":"string"}},"required":["colour"]}';
    answers = ({ body }) =>
      body.includes("tool_result")
        ? text("done")
        : { kind: "call", tool: "StructuredOutput", input: { colour: "red" } };
    const { result } = await run({ config: { extraArgs: ["--json-schema", schema] } });
    expect(result).toMatchObject({ exitCode: 0, resultJson: { structured_output: { colour: "red" } } });
    expect(result.summary).toBeTruthy();
  });

  test("a process that does not end after its result is ended, as the success that it is", async () => {
    answers = () => text("Done.");
    const hook = { hooks: [{ type: "command", command: "sleep 300" }] };
    const settings = JSON.stringify({ hooks: { SessionEnd: [hook] } });
    const { result, ms } = await run({ config: { extraArgs: ["--settings", settings], resultGraceSec: 1 } });
    expect(result).toMatchObject({ exitCode: 0, summary: "Done." });
    expect(result.errorMessage ?? null).toBeNull();
    // Older versions give such a hook a minute.
    expect(ms).toBeLessThan(30_000);
    expect(k8s.objects.list("jobs", NAMESPACE)).toEqual([]);
  });

  test.runIf(isNewest)("a background command that ends after the result has the last word", async () => {
    const turns: Answer[] = [
      { kind: "tool", command: "sleep 4; echo tests failed", background: true },
      text("The tests run."),
      text("The tests failed."),
    ];
    answers = ({ number }) => turns[number - 1] ?? text("more");
    const { result } = await run({ config: { resultGraceSec: 1 } });
    expect(result).toMatchObject({ exitCode: 0, summary: "The tests failed.", resultJson: { num_turns: 3 } });
    expect(result.usage).toEqual({ inputTokens: 90, cachedInputTokens: 33, outputTokens: 51 });
  });

  test.runIf(isNewest)("stopped amid a background command, resumed, and killed amid the work: no success", async () => {
    const stop = new AbortController();
    answers = ({ number }) =>
      number === 1 ? { kind: "tool", command: "sleep 2000", background: true } : { kind: "silence" };
    const first = run({ signal: stop.signal });
    await api.nextRequest();
    await api.nextRequest();
    stop.abort(new Error("stopped by the board"));
    const { result } = await first;
    expect(result).toMatchObject({ errorCode: "cancelled", sessionId: expect.any(String) });

    const asked = api.nextRequest();
    const second = run({ sessionId: result.sessionId ?? "" });
    await asked;
    const pod = k8s.objects.list("pods", NAMESPACE).at(-1);
    k8s.objects.delete("pods", NAMESPACE, pod?.metadata.name ?? "");
    const killed = await second;
    expect(killed.result.errorMessage).toBeTruthy();

    answers = () => text("I go on.");
    const third = await run({ sessionId: result.sessionId ?? "" });
    expect(third.result).toMatchObject({ exitCode: 0, summary: "I go on.", sessionId: result.sessionId });
  });
});
