/** What the message of a failed run says beside the agent's own words. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { secretNameFor } from "../../../src/adapter/job/names.ts";
import { adapterOf, missesSecret, NAMESPACE, objectsOf, run, startWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.stop());

test("a crash: its exit code, the last words, the node", async () => {
  world.agents.set("crashes", async function* () {
    yield '{"session":"S-1"}';
    yield "boom: something broke";
    return 1;
  });
  const { errorMessage } = await run(world, adapterOf(world).adapter, { agentId: "crashes" }).result;
  expect(errorMessage).toMatch(/^agent: ended \(exit 1 after: boom: something broke; node \S+/);
});

test("no more memory: the limit", async () => {
  world.agents.set("eats", async function* (container) {
    yield '{"session":"S-1"}';
    await container.sleep(24 * 3_600_000);
  });
  const each = run(world, adapterOf(world).adapter, { agentId: "eats" });
  await each.logged("S-1");
  world.k8s.oomKill(NAMESPACE, objectsOf(world, "pods", "eats")[0]?.metadata.name ?? "", "agent");
  expect((await each.result).errorMessage).toMatch(/exit 137, OOMKilled; memory limit 8Gi; node /);
});

test("a Secret that came after its pod is no news: the container ran", async () => {
  const late = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "create", resource: "secrets" } });
  world.agents.set("quick-kubelet", async function* () {
    yield "boom";
    return 1;
  });
  const each = run(world, adapterOf(world).adapter, { agentId: "quick-kubelet" });
  await world.k8s.objects.until(() => objectsOf(world, "jobs", "quick-kubelet").length > 0);
  const secret = secretNameFor(objectsOf(world, "jobs", "quick-kubelet")[0]?.metadata.name ?? "");
  await world.k8s.objects.until(() => missesSecret(world, secret));
  await expect.poll(() => late.hits).toBe(1);
  late.release();
  const { errorMessage } = await each.result;
  expect(errorMessage).toContain("exit 1 after: boom");
  expect(errorMessage).not.toContain(secret);
});

test("secrets stay out of it, and a run that said its result costs no request more", async () => {
  world.agents.set("leaks", async function* () {
    yield "the key is run-jwt-canary-0001";
    return 1;
  });
  const { errorMessage } = await run(world, adapterOf(world).adapter, { agentId: "leaks" }).result;
  expect(errorMessage).toContain("the key is ***");
  world.agents.set("says", async function* () {
    yield '{"done":true,"ok":false}';
    return 1;
  });
  world.k8s.requests.reset();
  await run(world, adapterOf(world).adapter, { agentId: "says" }).result;
  expect(world.k8s.requests.count("list events")).toBe(0);
});
