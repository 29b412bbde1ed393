import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { Machine } from "./suites.ts";

const KEPT = "k8s-run-informer-e2e";

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`${signal} while the cluster is created: neither nodes nor files are left`, async (context) => {
    const machine = await Machine.create(context);
    // Longer than the test may take: whoever waits for a node, or lets go of it, fails.
    const suite = machine.suite({ KIND_NODE_SECONDS: "600" });
    await expect.poll(() => machine.makers()).toHaveLength(2);
    expect(await suite.signal(signal), suite.output).toBe(130);
    // They would be there for ten minutes; one that was killed may take a moment to end.
    await expect.poll(async () => (await machine.makers()).filter(isAlive)).toEqual([]);
    expect(await machine.clusters()).toEqual([]);
    expect(await machine.leftFiles()).toEqual([]);
  });
}

test("two suites at once have a cluster each, and delete no other", async (context) => {
  const machine = await Machine.create(context);
  const [first, second] = [machine.suite(), machine.suite()];
  await Promise.all([first.ready(), second.ready()]);
  expect(new Set(await machine.clusters()).size).toBe(2);
  expect(await first.end(), first.output).toBe(0);
  expect(await machine.clusters()).toHaveLength(1);
  expect(await second.end(), second.output).toBe(0);
  expect(await machine.clusters()).toEqual([]);
  expect(await machine.leftFiles()).toEqual([]);
});

test("a kept cluster is used again and never deleted, not even when it cannot be used", async (context) => {
  const machine = await Machine.create(context);
  const nodes = machine.k8s.nodes.names().join(" ");
  const first = machine.suite({ E2E_KEEP: "1", KIND_NODES: nodes });
  await first.ready();
  expect(await first.end(), first.output).toBe(0);
  expect(first.output).toContain(`kind delete cluster --name ${KEPT}`);
  const second = machine.suite({ E2E_KEEP: "1", KIND_NODES: nodes });
  await second.ready();
  expect(await second.end(), second.output).toBe(0);
  machine.k8s.nodes.lose(machine.k8s.nodes.names()[0] ?? "");
  await machine.k8s.objects.until(() => machine.k8s.objects.list("nodes").some((node) => !isReady(node)));
  const third = machine.suite({ E2E_KEEP: "1", KIND_NODES: nodes });
  expect(await third.exit()).not.toBe(0);
  expect(third.output).toMatch(/the kept cluster k8s-run-informer-e2e cannot be used \(not ready: /);
  expect(await machine.clusters()).toEqual([KEPT]);
  const calls = await machine.calls();
  expect(calls.filter((call) => call.startsWith("create"))).toHaveLength(1);
  expect(calls.filter((call) => call.startsWith("delete"))).toEqual([]);
});

test("another run that keeps its cluster was faster: its cluster is left alone", async (context) => {
  const machine = await Machine.create(context);
  const message = `node(s) already exist for a cluster with the name "${KEPT}"`;
  const suite = machine.suite({ E2E_KEEP: "1", KIND_CREATE_FAILS: message });
  expect(await suite.exit()).not.toBe(0);
  expect(suite.output).toContain(message);
  expect((await machine.calls()).filter((call) => call.startsWith("delete"))).toEqual([]);
});

test("the cluster cannot be deleted: the other steps of the clean-up are done, and the run says so", async (context) => {
  const machine = await Machine.create(context);
  const suite = machine.suite();
  await suite.ready();
  expect(machine.namespaces()).toHaveLength(1);
  await machine.refuseDeletion();
  expect(await suite.end()).not.toBe(0);
  expect(suite.output).toContain("failed to delete cluster");
  await machine.k8s.objects.until(() => machine.namespaces().length === 0);
  expect(await machine.leftFiles()).toEqual([]);
});

test("k3s: its API is published on loopback alone, and its certificate names the host", async (context) => {
  const machine = await Machine.create(context);
  const suite = machine.suite({ E2E_TARGET: "k3s", E2E_K3S_IMAGE: "k3s:1", TESTCONTAINERS_HOST_OVERRIDE: "127.0.0.1" });
  expect(await suite.exit()).not.toBe(0);
  expect(suite.output).toMatch(/the container of k3s:1 could not be started: .*no containers here/);
  const [container] = machine.containers;
  expect(container?.Cmd).toContain("--tls-san=127.0.0.1");
  expect(container?.ExposedPorts).toEqual({ "6443/tcp": {} });
  const published = { "6443/tcp": [{ HostIp: "127.0.0.1", HostPort: "0" }] };
  expect(container?.HostConfig).toHaveProperty("PortBindings", published);
  expect(await machine.leftFiles()).toEqual([]);
});

test("Docker without its command: a target that was asked for says what is missing, one that was found gives way", async (context) => {
  const machine = await Machine.create(context);
  const asked = machine.suite({ PATH: machine.temporary, E2E_TARGET: "k3s" });
  expect(await asked.exit()).not.toBe(0);
  expect(asked.output).toContain("E2E_TARGET=k3s cannot be used: there is no `docker` on the PATH");
  const found = machine.suite({ E2E_TARGET: "", KIND_CREATE_FAILS: "failed to pull image kindest/node" });
  await found.ready();
  expect(found.output).toContain("e2e target: embedded instead, since E2E_TARGET=kind cannot be used");
  expect(await found.end(), found.output).toBe(0);
  expect(await machine.leftFiles()).toEqual([]);
});

function isReady(node: object): boolean {
  const { status } = node as { status?: { conditions?: { type: string; status: string }[] } };
  const conditions = status?.conditions ?? [];
  return conditions.some((each) => each.type === "Ready" && each.status === "True");
}

/** Not one that has ended and that its parent has not looked at yet. */
function isAlive(pid: number): boolean {
  const { stdout } = spawnSync("ps", ["-o", "stat=", "-p", String(pid)], { encoding: "utf8" });
  return /^[^Z\s]/.test(stdout);
}
