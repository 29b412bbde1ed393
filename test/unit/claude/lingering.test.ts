/** A Claude that has said its result and does not end, in the whole adapter over an embedded cluster. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ContainerContext, EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { stopSharedEngines } from "../../../src/engine/index.ts";
import { createServerAdapter } from "../../../src/index.ts";
import { contextOf } from "./runs.ts";

const NAMESPACE = "agents";
let k8s: EmbeddedKubernetes;
let directory: string;
let kubeconfig: string;
let agent: (container: ContainerContext) => AsyncGenerator<string, number>;

beforeAll(async () => {
  k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: [NAMESPACE] });
  k8s.addProgram("claude", (container) => agent(container));
  directory = await mkdtemp(join(tmpdir(), "claude-lingering-"));
  kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: NAMESPACE });
});

afterAll(async () => {
  await stopSharedEngines();
  await k8s.stop();
  await rm(directory, { recursive: true });
});

const init = JSON.stringify({ type: "system", subtype: "init", session_id: "S-1", model: "claude-x" });
const said = (text: string) =>
  JSON.stringify({
    type: "assistant",
    message: { id: text, content: [{ type: "text", text }], usage: { output_tokens: 4 } },
  });
const result = (text: string, more: object = {}) =>
  JSON.stringify({ type: "result", subtype: "success", is_error: false, num_turns: 1, result: text, ...more });
const tasks = (...ids: string[]) =>
  JSON.stringify({
    type: "system",
    subtype: "background_tasks_changed",
    tasks: ids.map((task_id) => ({ task_id, task_type: "local_bash", description: "tests" })),
  });

/** The container was told to end: SIGTERM reached the process while it lingered. */
let wasEnded: boolean;

async function linger(container: ContainerContext, ms: number): Promise<void> {
  try {
    await container.sleep(ms, { interruptible: true });
  } catch (error) {
    wasEnded = true;
    throw error;
  }
}

let runs = 0;

async function run(program: typeof agent, resultGraceSec = 1): Promise<{ result: AdapterExecutionResult }> {
  agent = program;
  wasEnded = false;
  const id = ++runs;
  const done = await createServerAdapter().execute(
    contextOf({
      runId: `run-${id}`,
      agent: { id: `agent-${id}`, companyId: "c", name: "Ada", adapterType: "claude_k8s", adapterConfig: {} },
      config: { paperclipRuntimeSkills: [], kubeconfig, namespace: NAMESPACE, image: "claude:1", resultGraceSec },
      context: { taskId: `task-${id}` },
      signal: new AbortController().signal,
    }),
  );
  expect(k8s.objects.list("jobs", NAMESPACE)).toEqual([]);
  return { result: done };
}

test("it is ended as the success that it is, and its Job is deleted", async () => {
  const { result: got } = await run(async function* (container) {
    yield init;
    yield result("The server runs.");
    await linger(container, 3_600_000);
    return 0;
  });
  expect(wasEnded).toBe(true);
  expect(got).toMatchObject({ exitCode: 0, summary: "The server runs.", sessionId: "S-1" });
  expect(got.errorMessage).toBeUndefined();
  expect(got.timedOut).toBe(false);
});

test("one that failed is ended as the failure that it is", async () => {
  const { result: got } = await run(async function* (container) {
    yield init;
    yield result("", { subtype: "error_max_turns", is_error: true });
    await linger(container, 3_600_000);
    return 0;
  });
  expect(wasEnded).toBe(true);
  expect(got).toMatchObject({ errorCode: "max_turns_exhausted", clearSession: true });
});

test("each piece of output gives it the whole time again", async () => {
  const { result: got } = await run(async function* (container) {
    yield init;
    yield result("Done.");
    // Longer than its time, and each pause is short beside it: a machine that stands still for seconds ends nothing.
    for (let n = 0; n < 50; n += 1) {
      await linger(container, 100);
      yield `cleaning up ${n}`;
    }
    return 0;
  }, 4);
  expect(wasEnded).toBe(false);
  expect(got).toMatchObject({ exitCode: 0, summary: "Done." });
});

test("a server that stood still for longer than the time reads what came meanwhile before it ends the agent", async () => {
  const { result: got } = await run(async function* (container) {
    yield init;
    yield result("Done.");
    await linger(container, 200);
    // This process is the server, too.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500);
    yield "cleaning up";
    await linger(container, 300);
    return 0;
  });
  expect(wasEnded).toBe(false);
  expect(got).toMatchObject({ exitCode: 0, summary: "Done." });
});

test("a result that answers a notification does not start the time", async () => {
  const { result: got } = await run(async function* (container) {
    yield init;
    yield result("", { num_turns: 0, origin: { kind: "task-notification" } });
    await linger(container, 2_500);
    yield said("Now the work.");
    yield result("The work is done.");
    return 0;
  });
  expect(wasEnded).toBe(false);
  expect(got).toMatchObject({ exitCode: 0, summary: "The work is done." });
});

test("work in the background that it announces may go on, and what comes of it is the run's last word", async () => {
  const { result: got } = await run(async function* (container) {
    yield init;
    yield tasks("b1");
    yield result("The tests run in the background.", { total_cost_usd: 0.1 });
    await linger(container, 2_500);
    yield tasks();
    yield said("They failed.");
    yield result("They failed.", { total_cost_usd: 9.99, is_error: true, origin: { kind: "task-notification" } });
    return 1;
  });
  expect(wasEnded).toBe(false);
  expect(got).toMatchObject({
    exitCode: 1,
    costUsd: 9.99,
    errorMessage: "Claude run failed: They failed.",
    resultJson: { num_turns: 2 },
  });
});
