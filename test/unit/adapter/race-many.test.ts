/**
 * Three servers, one cluster, the same agents and tasks, and bad weather: answers that are lost after they were acted on, quota
 * conflicts, errors, servers that are killed, or stopped for a moment. What must hold in each interleaving that comes of it.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { seededRandom } from "../../../src/embedded/random.ts";
import { type Answer, ServerProcess } from "./server-process.ts";
import { startWorld, type World } from "./world.ts";

const AGENTS = 5;
const RUNS = 90;
/** What a run may come to, beside success, when nothing is stopped by a person. */
const REFUSED =
  /^k8s_(concurrent_run_blocked|concurrency_guard_unreachable|api_unreachable|job_create_failed|prompt_secret_create_failed|run_lost|pod_reattach_failed|orphan_)/;

let world: World;
let servers: ServerProcess[] = [];
beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => {
  for (const server of servers) await server.kill();
  await world.stop();
});

test.each([1, 2, 3])(
  "seed %i: one agent at a time, each prompt once, each result once, nothing interrupted",
  async (seed) => {
    const random = seededRandom(seed);
    const pick = (n: number) => Math.floor(random() * n);
    const live = new Map<string, number>();
    const ran = new Map<string, number>();
    const handedOut = new Map<string, number>();
    const wrong: string[] = [];
    const count = (map: Map<string, number>, key: string, by = 1) =>
      map.set(key, (map.get(key) ?? 0) + by).get(key) ?? 0;
    for (let i = 0; i < AGENTS; i += 1) {
      const agentId = `many-${seed}-${i}`;
      world.agents.set(agentId, async function* (container) {
        const prompt = container.files.readText("/tmp/prompt/prompt.txt");
        if (count(live, agentId) > 1) wrong.push(`two agents of ${agentId} at once`);
        if (count(ran, prompt) > 1) wrong.push(`prompt ${prompt} ran twice`);
        let isDone = false;
        try {
          yield `{"session":"${prompt}"}`;
          await container.sleep(500 + (prompt.length % 7) * 700);
          isDone = true;
        } finally {
          count(live, agentId, -1);
          if (!isDone) wrong.push(`prompt ${prompt} was interrupted`);
        }
        yield '{"done":true,"ok":true}';
      });
    }
    const { faults } = world.k8s;
    const writes = ["create", "patch", "delete"];
    const weather = [
      faults.loseAnswers({ match: { verb: writes }, rate: 0.06 }),
      faults.errorRate({ status: 500, match: { verb: writes }, rate: 0.12 }),
      faults.quotaConflicts({ rate: 0.15 }),
    ];
    const start = () => new ServerProcess(world);
    servers = [start(), start(), start()];
    const answers: Promise<Answer | null>[] = [];
    const waiting = new Set<string>();
    for (let i = 0; i < RUNS; i += 1) {
      const server = servers[pick(servers.length)] as ServerProcess;
      const runId = `m${seed}-${i}`;
      const order = { agentId: `many-${seed}-${pick(AGENTS)}`, runId, taskId: `t${pick(2)}`, prompt: `p-${runId}` };
      const config = { concurrencyPolicy: random() < 0.5 ? "wait" : "block" };
      // Of a server that is killed nobody hears.
      waiting.add(runId);
      const answer = server.run({ ...order, config }).catch(() => null);
      answers.push(answer.finally(() => waiting.delete(runId)));
      await sleep(random() * 60);
      if (i % 15 === 14) {
        const victim = pick(servers.length);
        if (random() < 0.6) {
          await servers[victim]?.kill();
          servers[victim] = start();
        } else {
          servers[victim]?.signal("SIGSTOP");
          await sleep(400);
          servers[victim]?.signal("SIGCONT");
        }
      }
    }
    await expect.poll(() => [...waiting], { message: "runs that have not ended", timeout: 150_000 }).toEqual([]);
    for (const answer of await Promise.all(answers)) {
      if (answer === null) continue;
      const { exitCode, errorCode, sessionId, runId, errorMessage } = answer;
      if (exitCode === 0) {
        if (sessionId === null) wrong.push(`run ${runId} succeeded without a result`);
        else if (count(handedOut, sessionId) > 1) wrong.push(`the result of ${sessionId} was handed out twice`);
      } else if (!REFUSED.test(errorCode ?? "")) wrong.push(`run ${runId}: ${errorCode}: ${errorMessage}`);
    }
    for (const each of weather) {
      each.remove();
      expect(each.hits).toBeGreaterThan(0);
    }
    await Promise.all(servers.map((server) => server.kill()));
    expect(wrong).toEqual([]);
    // The weather was not so bad that nothing was tested.
    expect(handedOut.size).toBeGreaterThan(RUNS / 10);
  },
);
