/** A server that is stopped for longer than its Lease, and goes on. Time is real here: a Lease runs out by the server's clock. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { thisProcess } from "../../../src/adapter/start/holder.ts";
import { LEASE_LABELS } from "../../../src/adapter/start/lease.ts";
import { ServerProcess } from "./server-process.ts";
import { adapterOf, NAMESPACE, objectsOf, run, startWorld, type World } from "./world.ts";

let world: World;
const servers: ServerProcess[] = [];
beforeAll(async () => {
  world = await startWorld({ timeScale: 1 });
});
afterAll(async () => {
  for (const server of servers) await server.kill();
  await world.stop();
});

const start = () => {
  const server = new ServerProcess(world);
  servers.push(server);
  return server;
};

test.concurrent.each([
  { what: "while its agent runs", agentId: "paused-running", endsFirst: false },
  { what: "and its agent has ended meanwhile", agentId: "paused-ended", endsFirst: true },
])("$what: the adopter's run is not harmed, its result is handed out once", async ({ agentId, endsFirst }) => {
  const go = Promise.withResolvers<void>();
  let runs = 0;
  world.agents.set(agentId, async function* () {
    runs += 1;
    yield '{"session":"S-1"}';
    await go.promise;
    yield '{"done":true,"ok":true}';
  });
  const owner = start();
  const first = owner.run({ agentId, runId: `${agentId}-a`, taskId: "t" });
  await expect.poll(() => runs).toBe(1);
  owner.signal("SIGSTOP");
  if (endsFirst) go.resolve();
  const jobOf = () => objectsOf(world, "jobs", agentId)[0]?.metadata;
  const uid = jobOf()?.uid;
  const config = { concurrencyPolicy: "wait" };
  const second = start().run({ agentId, runId: `${agentId}-b`, taskId: "t", config });
  if (!endsFirst) {
    await expect.poll(() => jobOf()?.labels?.["paperclip.io/run-id"]).toBe(`${agentId}-b`);
    owner.signal("SIGCONT");
    expect(await first).toMatchObject({ errorCode: "k8s_run_lost", exitCode: null });
    expect(jobOf()).toMatchObject({ uid });
    expect(jobOf()).not.toHaveProperty("deletionTimestamp");
    go.resolve();
    expect(await second).toMatchObject({ exitCode: 0, errorCode: null });
    expect(runs).toBe(1);
  } else {
    // Its owner may be about to collect it: nothing of it is taken, and the next run begins with its own prompt.
    expect(await second).toMatchObject({ exitCode: 0, errorCode: null });
    owner.signal("SIGCONT");
    const codes = [(await first).exitCode, (await second).exitCode];
    expect(codes.filter((code) => code === 0).length).toBe(runs);
  }
  expect(world.k8s.objects.list("jobs", NAMESPACE).filter(({ metadata }) => metadata.uid === uid)).toEqual([]);
});

test.concurrent("Leases of a quarter of an hour ago are deleted when that is certain: the clock may have been set forward", async () => {
  const { objects, clock } = world.k8s;
  const longAgo = new Date(clock.now() - 3_600_000).toISOString();
  const touch = (name: string) =>
    objects.update("leases", NAMESPACE, name, ({ metadata }) => {
      for (const each of metadata.managedFields ?? []) each.time = longAgo;
      metadata.annotations = { ...metadata.annotations, "test/touched": String(performance.now()) };
    });
  const leave = (name: string, holder: object) => {
    const annotations = { "paperclip.io/holder": JSON.stringify(holder) };
    objects.create("leases", { metadata: { name, namespace: NAMESPACE, labels: LEASE_LABELS, annotations }, spec: {} });
    touch(name);
  };
  leave("a-renewed", {});
  leave("b-dead", { ...(await thisProcess(null)), pid: 2 ** 30 });
  leave("c-silent", {});
  const go = Promise.withResolvers<void>();
  world.agents.set("sweeper", async function* () {
    yield "works";
    await go.promise;
    yield '{"done":true,"ok":true}';
  });
  const sweeper = run(world, adapterOf(world).adapter, { agentId: "sweeper" });
  const left = () => objects.list("leases", NAMESPACE).map(({ metadata }) => metadata.name);
  await expect.poll(left).not.toContain("b-dead");
  expect(left()).toEqual(expect.arrayContaining(["a-renewed", "c-silent"]));
  // As its holder does, until the others are sure of the silent one.
  const renewed = () => {
    touch("a-renewed");
    return left();
  };
  await expect.poll(renewed, { interval: 1_000, timeout: 60_000 }).not.toContain("c-silent");
  expect(left()).toContain("a-renewed");
  go.resolve();
  expect(await sweeper.result).toMatchObject({ exitCode: 0 });
});
