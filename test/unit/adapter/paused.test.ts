/** A server that is stopped for longer than its Lease, and goes on. Time is real here: a Lease runs out by the server's clock. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { ServerProcess } from "./server-process.ts";
import { NAMESPACE, objectsOf, startWorld, type World } from "./world.ts";

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
