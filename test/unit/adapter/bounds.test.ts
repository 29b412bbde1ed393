/** What the host or a proxy before the API server does not do: nothing waits for it without a bound. */
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { tell } from "../../../src/adapter/host/callbacks.ts";
import { adapterOf, NAMESPACE, objectsOf, run, startWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.stop());

let agents = 0;
const fresh = () => `bounded-${++agents}`;
const never = () => new Promise<void>(() => undefined);

async function* untilKilled(container: { sleep(ms: number): Promise<void> }): AsyncGenerator<string> {
  yield '{"session":"S-1"}';
  await container.sleep(24 * 3_600_000);
}

describe("a callback of the host that never settles", () => {
  test.each(["onCancellationReady", "onMeta", "onDispatch", "onEvent", "onSpawn"])(
    "%s: the run goes on, and so does the agent's next",
    async (callback) => {
      const agentId = fresh();
      const { adapter } = adapterOf(world);
      const hanging = vi.fn(never);
      const first = run(world, adapter, { agentId, overrides: { [callback]: hanging } });
      expect(await first.result).toMatchObject({ exitCode: 0 });
      // It is not called at all: a made-up process id would block the host.
      expect(hanging.mock.calls.length > 0).toBe(callback !== "onSpawn");
      expect(await run(world, adapter, { agentId }).result).toMatchObject({ exitCode: 0 });
    },
  );

  test("a Stop ends the wait for it, however long it may last", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const stop = new AbortController();
    const told = tell(never, stop.signal);
    stop.abort();
    await told;
  });

  test.each(["onCancellationReady", "onMeta", "onDispatch", "onEvent", "onLog"])(
    "%s: a Stop meanwhile is heard at once, and the lock of the agent is free",
    async (callback) => {
      const agentId = fresh();
      const { adapter } = adapterOf(world);
      const called = Promise.withResolvers<void>();
      const hanging = () => {
        called.resolve();
        return never();
      };
      const first = run(world, adapter, { agentId, overrides: { [callback]: hanging } });
      await called.promise;
      first.abort.abort();
      expect(await first.result).toMatchObject({
        errorCode: "cancelled",
        resultJson: { executionCancellation: { state: "acknowledged" } },
      });
      expect(await run(world, adapter, { agentId }).result).toMatchObject({ exitCode: 0 });
    },
  );
});

describe("a Stop that a proxy before the API server answers", () => {
  const failure = (code: number, reason: string, message: string, details?: object) => ({
    contentType: "application/json",
    body: JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", reason, code, message, details }),
  });
  const page = { body: "<html><title>no route</title></html>", contentType: "text/html" };
  const ofPage = { causes: [{ reason: "UnexpectedServerResponse", message: "404 page not found" }] };
  type Answer = Parameters<World["k8s"]["faults"]["errorRate"]>[0];
  test.each<[string, (jobName: string) => Answer]>([
    ["with a page that is not found", () => ({ status: 404, ...page })],
    [
      "with a Status about a cluster that it does not know",
      () => ({
        status: 404,
        ...failure(404, "NotFound", 'cluster "edge-1" not found', { kind: "clusters", name: "edge-1" }),
      }),
    ],
    [
      "with a Status about a namespace that it does not know",
      () => ({
        status: 404,
        ...failure(404, "NotFound", `namespaces "${NAMESPACE}" not found`, { kind: "namespaces", name: NAMESPACE }),
      }),
    ],
    [
      "with a Status that it made of a page, with the Job's name",
      (name) => ({ status: 404, ...failure(404, "NotFound", "not found", { kind: "jobs", name, ...ofPage }) }),
    ],
    ["with a status of no standard", () => ({ status: 530, body: "origin unreachable", contentType: "text/plain" })],
    ["with a conflict about something else", () => ({ status: 409, body: "busy", contentType: "text/plain" })],
    ["with a webhook's conflict", () => ({ status: 409, ...failure(409, "Conflict", 'webhook "w" denied it') })],
    ["with a firewall's page", () => ({ status: 403, ...page })],
    ["with a refusal of its own", () => ({ status: 403, ...failure(403, "Forbidden", "access denied to cluster") })],
    ["with a login's page and 401", () => ({ status: 401, ...page })],
    ["with a login's page", () => ({ status: 200, ...page })],
    ["with a refusal after 200", () => ({ status: 200, ...failure(503, "ServiceUnavailable", "no tunnel") })],
  ])("%s is sent again", async (_, answerTo) => {
    const agentId = fresh();
    world.agents.set(agentId, untilKilled);
    const each = run(world, adapterOf(world).adapter, { agentId });
    await each.logged("S-1");
    const answer = answerTo(objectsOf(world, "jobs", agentId)[0]?.metadata.name ?? "");
    const fault = world.k8s.faults.errorRate({ ...answer, match: { verb: "delete", resource: "jobs" }, count: 2 });
    each.abort.abort();
    expect(await each.result).toMatchObject({
      errorCode: "cancelled",
      resultJson: { executionCancellation: { state: "acknowledged" } },
    });
    expect(fault.hits).toBe(2);
    expect(objectsOf(world, "jobs", agentId)).toEqual([]);
    expect(objectsOf(world, "pods", agentId)).toEqual([]);
  });
});

test("the log of an ended run that cannot be read for a while is read later, and its Job stands until then", async () => {
  const agentId = fresh();
  world.agents.set(agentId, async function* () {
    yield '{"session":"S-1"}';
    yield '{"done":true,"ok":true}';
  });
  const fault = world.k8s.faults.errorRate({
    status: 500,
    match: { verb: "get", resource: "pods/log" },
    count: 3,
  });
  const each = run(world, adapterOf(world).adapter, { agentId });
  expect(await each.result).toMatchObject({ exitCode: 0 });
  expect(fault.hits).toBe(3);
  expect(each.output()).toEqual(['{"session":"S-1"}', '{"done":true,"ok":true}']);
});
