/**
 * `deploy/rbac.yaml`: nothing in it is never used. That it is enough say all tests of the adapter: their user (world.ts) has these
 * rules and no others.
 */
import { readFile } from "node:fs/promises";
import { loadAllYaml } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stopSharedEngines } from "../../../src/engine/index.ts";
import { TYPE } from "../adapter/test-definition.ts";
import { adapterOf, documentedRules, NAMESPACE, objectsOf, run, startWorld, type World } from "../adapter/world.ts";

interface RoleDocument {
  kind: string;
  roleRef?: { kind: string };
}

const documents = loadAllYaml(
  await readFile(new URL("../../../deploy/rbac.yaml", import.meta.url), "utf8"),
) as unknown as RoleDocument[];
const rules = await documentedRules();
/** `create jobs`, … as the embedded server counts requests. */
const granted = rules.flatMap(({ verbs, resources = [] }) =>
  verbs.flatMap((verb) => resources.map((resource) => `${verb} ${resource}`)),
);
/** What every authenticated user may do in any cluster. */
const PUBLIC = /selfsubject(access)?reviews$|^get \//;

let world: World;
let config: Record<string, unknown>;
beforeAll(async () => {
  world = await startWorld();
  config = { secretRef: "keys" };
});
afterAll(() => world.stop());

describe("deploy/rbac.yaml", () => {
  test("grants no wildcard, nothing cluster-wide, no way to run something in a pod or to grant more", () => {
    expect(
      documents.flatMap(({ kind, roleRef }) => [kind, roleRef?.kind ?? ""]).filter((kind) => /^Cluster/.test(kind)),
    ).toEqual([]);
    for (const { verbs, resources = [], apiGroups = [] } of rules) {
      expect([...verbs, ...resources, ...apiGroups]).not.toContain("*");
      for (const verb of ["escalate", "bind", "impersonate", "deletecollection"]) expect(verbs).not.toContain(verb);
      for (const resource of ["pods/exec", "pods/attach", "pods/portforward", "serviceaccounts/token", "roles"])
        expect(resources).not.toContain(resource);
    }
    expect(granted).not.toContain("create pods");
  });

  test("is enough for every kind of run, and each of its rules is used", async () => {
    world.k8s.requests.reset();
    const { adapter } = adapterOf(world);
    const start = (agentId: string, more: Record<string, unknown> = {}) =>
      run(world, adapter, { agentId, config: { ...config, ...more } });

    // A run as it should be, with credentials by Secret.
    expect(await start("plain", { env: { GITHUB_TOKEN: "ghp_rbac-0001" } }).result).toMatchObject({ exitCode: 0 });
    // Kept.
    expect(await start("kept", { retainJobs: true }).result).toMatchObject({ exitCode: 0 });
    // The answer to the create is lost.
    world.k8s.faults.errorRate({ status: 504, match: { verb: "create", resource: "jobs" }, count: 1 });
    expect(await start("lost").result).toMatchObject({ exitCode: 0 });
    // One that cannot start.
    world.k8s.failImagePull("ghcr.io/nothing:1");
    const failed = await start("no-image", { image: "ghcr.io/nothing:1", imagePullGraceSec: 1 }).result;
    expect(failed).toMatchObject({ errorCode: "k8s_pod_schedule_failed" });
    expect(failed.errorMessage).toContain("Events: ");
    // Stopped.
    world.agents.set("stopped", async function* (container) {
      yield "works";
      await container.sleep(3_600_000);
    });
    const stopped = start("stopped");
    await stopped.logged("works");
    stopped.abort.abort();
    expect(await stopped.result).toMatchObject({ errorCode: "cancelled" });
    // Taken over from a process that died.
    const taken = Promise.withResolvers<void>();
    world.agents.set("adopted", async function* () {
      yield "works";
      await taken.promise;
      yield '{"done":true,"ok":true}';
    });
    const left = start("adopted");
    await left.logged("works");
    left.abort.abort(new Error("Legacy controller lease lost"));
    await left.result;
    const [job] = objectsOf(world, "jobs", "adopted");
    world.k8s.objects.update("jobs", NAMESPACE, job?.metadata.name ?? "", ({ metadata: { annotations = {} } }) => {
      annotations["paperclip.io/owner-lease"] = "of-a-process-that-died";
    });
    const adopter = start("adopted");
    await expect.poll(() => adopter.events.map(({ eventType }) => eventType)).toContain("k8s.job_adopted");
    taken.resolve();
    expect(await adopter.result).toMatchObject({ exitCode: 0 });
    // A server without streaming lists, as before Kubernetes 1.34.
    await stopSharedEngines();
    world.k8s.settings.streamingList = false;
    expect(await start("paged").result).toMatchObject({ exitCode: 0 });
    // The environment test.
    const { status, checks } = await adapter.testEnvironment({
      companyId: "c",
      adapterType: TYPE,
      config: { ...config, kubeconfig: world.kubeconfig },
    });
    expect(checks.filter(({ level }) => level !== "info")).toEqual([]);
    expect(status).toBe("pass");

    // A server that runs renews its Lease.
    await expect.poll(() => world.k8s.requests.count("patch leases")).toBeGreaterThan(0);
    const used = Object.keys(world.k8s.requests.byVerb).filter((each) => !PUBLIC.test(each));
    expect(granted.filter((each) => !used.includes(each))).toEqual([]);
    // `get namespaces` is a cluster's object: the environment test asks, and says so when it may not.
    expect(used.filter((each) => !granted.includes(each) && each !== "get namespaces")).toEqual([]);
  });
});
