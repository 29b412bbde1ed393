/** An agent that is taken over while it works has a key that Paperclip refuses: its session goes on with the new run's. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { adapterOf, crash, objectsOf, type Recorded, run, startWorld, type World } from "./world.ts";

let world: World;
let api: Server;
/** What Paperclip answers to a GET of the issue. Null: nothing, ever. */
let answer: { status: number; body: string } | null;
let asked: { url: string | undefined; key: string | undefined; run: unknown }[];

beforeAll(async () => {
  world = await startWorld();
  api = createServer((request, response) => {
    const { authorization, "x-paperclip-run-id": run } = request.headers;
    asked.push({ url: request.url, key: authorization, run });
    if (answer !== null) response.writeHead(answer.status).end(answer.body);
  });
  await new Promise<void>((resolve) => api.listen(0, "127.0.0.1", resolve));
});
afterAll(async () => {
  api.closeAllConnections();
  api.close();
  await world.stop();
});
beforeEach(() => {
  asked = [];
  answer = { status: 200, body: JSON.stringify({ status: "in_progress" }) };
});
let finish: () => void = () => undefined;
afterEach(() => finish());

let agents = 0;

/** The agent works in a process that dies; the next run of its task takes it over, and then it ends. */
async function takenOver(config: Record<string, unknown> = {}) {
  const agentId = `taken-over-${++agents}`;
  const mayEnd = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const starts: { key: string | undefined; prompt: string }[] = [];
  world.agents.set(agentId, async function* ({ env, files }) {
    starts.push({ key: env.PAPERCLIP_API_KEY, prompt: files.readText("/tmp/prompt/prompt.txt") });
    yield `{"session":"S-1","start":${starts.length}}`;
    if (starts.length === 1) await mayEnd;
    yield '{"done":true,"ok":true}';
    return 0;
  });
  const env = { ...world.env, PAPERCLIP_API_URL: `http://127.0.0.1:${(api.address() as AddressInfo).port}` };
  const sessions: (string | null)[] = [];
  const { adapter } = adapterOf(
    { ...world, env },
    {
      prepare: async ({ ctx, sessionId }) => {
        sessions.push(sessionId);
        const prompt = String(ctx.context.paperclipSessionHandoffMarkdown ?? "Do the work.");
        return { command: ["agent"], commandArgs: [], prompt, promptMetrics: {} };
      },
    },
  );
  const first = run(world, adapter, { agentId, config, overrides: { authToken: "key-of-the-first-run" } });
  await first.logged('"start":1');
  await crash(first);
  const next = run(world, adapter, { agentId, config, overrides: { authToken: "key-of-the-next-run" } });
  await next.logged("Reattaching");
  finish();
  return { agentId, first, next, result: await next.result, starts, sessions };
}

const dones = (each: Recorded) => each.output().filter((line) => line.includes('"done":true')).length;

test("its session goes on with the new run's key, prompt and a word about what happened; cost is summed", async () => {
  const { first, next, result, starts, sessions } = await takenOver();
  expect(asked).toEqual([{ url: "/api/issues/task-1", key: "Bearer key-of-the-next-run", run: next.ctx.runId }]);
  expect(starts.map(({ key }) => key)).toEqual(["key-of-the-first-run", "key-of-the-next-run"]);
  expect(starts[1]?.prompt).toContain("refused (409)");
  expect(sessions).toEqual([null, "S-1"]);
  expect(next.notes().join("")).toContain(`The agent had the key of run ${first.ctx.runId}`);
  expect(dones(next)).toBe(2);
  expect(result).toMatchObject({
    exitCode: 0,
    sessionId: "S-1",
    costUsd: 1,
    usage: { inputTokens: 2, outputTokens: 4 },
  });
});

test.each<[string, typeof answer]>([
  ["whose issue is done", { status: 200, body: '{"status":"done"}' }],
  ["of which Paperclip says nothing", { status: 401, body: '{"error":"Unauthorized"}' }],
  ["of which Paperclip never says anything", null],
  ["of which it says what is no JSON", { status: 200, body: "<html>" }],
])("one %s has its result handed out as it is", async (_, given) => {
  answer = given;
  const { next, result, starts } = await takenOver();
  expect(asked).toHaveLength(1);
  expect(starts).toHaveLength(1);
  expect(dones(next)).toBe(1);
  expect(result).toMatchObject({ exitCode: 0, costUsd: 0.5 });
});

test("where Jobs are kept it has one part only: the guard could not tell the kept one from the run's own", async () => {
  const { agentId, starts } = await takenOver({ retainJobs: true });
  expect(starts).toHaveLength(1);
  expect(asked).toEqual([]);
  expect(objectsOf(world, "jobs", agentId)).toHaveLength(1);
});

test("a second part that cannot begin does not cost the first one's result", async () => {
  const refused: { hits: number; remove(): void }[] = [];
  // From the moment on when Paperclip is asked.
  api.once("request", () => {
    refused.push(world.k8s.faults.errorRate({ status: 403, match: { verb: "create", resource: "jobs" } }));
  });
  const { result, starts } = await takenOver();
  expect(refused.map(({ hits }) => hits)).toEqual([1]);
  for (const fault of refused) fault.remove();
  expect(starts).toHaveLength(1);
  expect(result).toMatchObject({ exitCode: 0, costUsd: 0.5 });
  expect(result.errorMessage).toBeUndefined();
});
