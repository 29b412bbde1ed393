/** The API server is away while a run wants to start: the run waits for it, says so, and can be stopped. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { adapterOf, objectsOf, restart, run, startWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.stop());

const PATIENT = { apiOutageSec: 60 };
const AWAY = "The API server is away";

/** So that the engine's watches are open. */
async function warm(): Promise<void> {
  expect(await run(world, adapterOf(world).adapter).result).toMatchObject({ exitCode: 0 });
}

describe("a server that is away", () => {
  test("before the engine's first lists: the run begins when it is back", async () => {
    const away = await startWorld();
    const server = restart(away);
    const waiting = run(away, adapterOf(away, {}, { connectTimeoutMs: 300 }).adapter, { config: PATIENT });
    await waiting.logged(AWAY);
    expect(waiting.events).toMatchObject([{ eventType: "k8s.api_away", message: expect.stringMatching(/refused/i) }]);
    await server.comesBack();
    expect(await waiting.result).toMatchObject({ exitCode: 0 });
    await away.stop();
  });

  test("later: twelve runs of one agent wait, and all of them run", async () => {
    await warm();
    const { adapter } = adapterOf(world);
    const server = restart(world);
    const agentId = "agent-of-twelve";
    const runs = Array.from({ length: 12 }, (_, i) =>
      run(world, adapter, { agentId, taskId: `t-${i}`, config: { ...PATIENT, concurrencyPolicy: "parallel" } }),
    );
    await runs[0]?.logged(AWAY);
    await server.comesBack();
    const results = await Promise.all(runs.map(({ result }) => result));
    expect(results.map(({ exitCode }) => exitCode)).toEqual(Array.from({ length: 12 }, () => 0));
  });

  test("a Stop ends the wait at once", async () => {
    await warm();
    const fault = world.k8s.faults.errorRate({ status: 503, match: { verb: "list", resource: "jobs" } });
    // Longer than a test may take.
    const waiting = run(world, adapterOf(world).adapter, { config: { apiOutageSec: 600 } });
    await waiting.logged(AWAY);
    waiting.abort.abort();
    expect(await waiting.result).toMatchObject({ errorCode: "cancelled", executionRecovery: { kind: "bootstrap" } });
    fault.remove();
  });

  const WRONG_PAGE = { status: 404, body: "no such page" };
  test.each([
    { verb: "create", resource: "jobs", answer: { status: 503 } },
    { verb: "create", resource: "secrets", answer: { status: 503 } },
    { verb: "list", resource: "jobs", answer: WRONG_PAGE },
    { verb: "create", resource: "jobs", answer: WRONG_PAGE },
    { verb: "create", resource: "secrets", answer: WRONG_PAGE },
  ])("a $verb of $resource that is answered with $answer for a while is sent again", async (row) => {
    const { answer, ...match } = row;
    await warm();
    const fault = world.k8s.faults.errorRate({ ...answer, match });
    const agentId = `agent-${match.verb}-${match.resource}-${answer.status}`;
    const waiting = run(world, adapterOf(world).adapter, { agentId, config: PATIENT });
    await waiting.logged(AWAY);
    fault.remove();
    expect(await waiting.result).toMatchObject({ exitCode: 0 });
    expect(objectsOf(world, "jobs", agentId)).toEqual([]);
  });
});

test("a frozen server: twelve runs of one agent give up together, not one after the other", async () => {
  await warm();
  const fault = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "list", resource: "jobs" } });
  const { adapter } = adapterOf(world, {}, { connectTimeoutMs: 500 });
  world.k8s.requests.reset();
  const runs = Array.from({ length: 12 }, () =>
    run(world, adapter, { agentId: "agent-frozen", config: { apiOutageSec: 1 } }),
  );
  const results = await Promise.all(runs.map(({ result }) => result));
  fault.remove();
  const codes = results.map(({ errorCode }) => errorCode);
  expect(codes).toEqual(Array.from({ length: 12 }, () => "k8s_concurrency_guard_unreachable"));
  // The first ones ask; what they learn holds for the others.
  expect(world.k8s.requests.count("list jobs")).toBeLessThan(6);
  // Once it is back, nothing of it is remembered.
  expect(await run(world, adapterOf(world).adapter, { agentId: "agent-frozen" }).result).toMatchObject({ exitCode: 0 });
});
