/** `engine.informer`: a cache of any resource, over the wire. */
import { describe, expect, it } from "vitest";
import type { NewObject } from "../../../src/embedded/index.ts";
import type { Informer, KubeObject, StoreChange } from "../../../src/engine/index.ts";
import { kubeConfigOf, NAMESPACE, startEngine, startKubernetes, status, timeoutAfter } from "./harness.ts";

interface ConfigMap extends KubeObject {
  data?: Record<string, string>;
}

interface Node extends KubeObject {
  status: { conditions?: { type: string; status: string }[] };
}

const CONFIG_MAPS = { version: "v1", plural: "configmaps" };

function configMap(name: string, data: Record<string, string>, labels = {}, namespace = NAMESPACE): NewObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace, labels }, data } as NewObject;
}

/** Resolves when a change of this object fits. */
function change<T extends KubeObject>(informer: Informer<T>, type: StoreChange<T>["type"], name: string) {
  return new Promise<StoreChange<T>>((resolve) => {
    const stop = informer.subscribe(
      (each) => {
        if (each.type !== type || each.object.metadata.name !== name) return;
        stop();
        resolve(each);
      },
      { replay: false },
    );
  });
}

describe("an informer of any resource", () => {
  it("has ConfigMaps, typed, indexed and kept up to date, over one watch", async () => {
    const k8s = await startKubernetes();
    k8s.objects.create("configmaps", configMap("a", { team: "red" }));
    k8s.objects.create("configmaps", configMap("b", { team: "blue" }));
    const engine = await startEngine(k8s);
    const informer = engine.informer<ConfigMap>({
      ...CONFIG_MAPS,
      namespaces: [NAMESPACE],
      indexers: { team: ({ data }) => data?.team ?? null },
    });
    await informer.whenSynced(AbortSignal.timeout(30_000));
    expect(informer.byIndex("team", "red").map(({ metadata }) => metadata.name)).toEqual(["a"]);
    const updated = change(informer, "updated", "a");
    k8s.objects.update("configmaps", NAMESPACE, "a", (each) => {
      (each as unknown as ConfigMap).data = { team: "blue" };
    });
    const { object, previous } = await updated;
    expect([previous?.data, object.data]).toEqual([{ team: "red" }, { team: "blue" }]);
    expect(object.metadata).not.toHaveProperty("managedFields");
    expect(informer.byIndex("team", "blue")).toHaveLength(2);
    expect(informer.freshness()).toMatchObject({ synced: true, connected: true, error: null });
    expect(k8s.requests.count("watch configmaps")).toBe(1);
    expect(engine.stats().informers.map(({ resource }) => resource)).toEqual(["jobs", "pods", "configmaps"]);
  });

  it("has what has no namespace, also page by page", async () => {
    const k8s = await startKubernetes({ streamingList: false });
    const engine = await startEngine(k8s);
    const informer = engine.informer<Node>({ version: "v1", plural: "nodes" });
    await informer.whenSynced(AbortSignal.timeout(30_000));
    const [node] = informer.list();
    expect(node?.metadata.namespace).toBe("");
    expect(informer.get("", node?.metadata.name ?? "")).toBe(node);
    expect(node?.status.conditions?.some(({ type }) => type === "Ready")).toBe(true);
  });

  it("has all namespaces of a group's resource", async () => {
    const k8s = await startKubernetes();
    for (const namespace of [NAMESPACE, "other"]) {
      k8s.objects.create("leases", {
        apiVersion: "coordination.k8s.io/v1",
        kind: "Lease",
        metadata: { name: "l", namespace },
        spec: { holderIdentity: "x" },
      } as NewObject);
    }
    const engine = await startEngine(k8s);
    const informer = engine.informer({ group: "coordination.k8s.io", version: "v1", plural: "leases" });
    await informer.whenSynced(AbortSignal.timeout(30_000));
    expect(informer.list(({ metadata }) => metadata.name === "l")).toHaveLength(2);
  });

  it("has what its selectors select; what ceases to match is deleted", async () => {
    const k8s = await startKubernetes();
    k8s.objects.create("configmaps", configMap("mine", {}, { app: "x" }));
    k8s.objects.create("configmaps", configMap("other", {}, { app: "x" }));
    k8s.objects.create("configmaps", configMap("third", {}, { app: "y" }));
    const engine = await startEngine(k8s);
    const labelled = engine.informer({ ...CONFIG_MAPS, labelSelector: "app in (x)" });
    const named = engine.informer({ ...CONFIG_MAPS, fieldSelector: "metadata.name=mine" });
    await Promise.all([labelled, named].map((each) => each.whenSynced(AbortSignal.timeout(30_000))));
    expect(labelled.size).toBe(2);
    expect(named.list().map(({ metadata }) => metadata.name)).toEqual(["mine"]);
    const gone = change(labelled, "deleted", "mine");
    k8s.objects.update("configmaps", NAMESPACE, "mine", (each) => {
      each.metadata.labels = {};
    });
    await gone;
    expect(labelled.size).toBe(1);
    expect(named.size).toBe(1);
  });

  it("keeps what `trim` leaves; what the caller's functions throw is reported and harms no other object", async () => {
    const k8s = await startKubernetes();
    k8s.objects.create("configmaps", configMap("good", { large: "x".repeat(1_000) }));
    k8s.objects.create("configmaps", configMap("bad", {}));
    const engine = await startEngine(k8s);
    const errors: unknown[] = [];
    engine.on("listenerError", (error) => errors.push(error));
    const informer = engine.informer<KubeObject>({
      ...CONFIG_MAPS,
      namespaces: [NAMESPACE],
      trim: (raw) => {
        const { metadata } = raw as KubeObject;
        if (metadata.name === "bad") throw new Error("of trim");
        return { metadata };
      },
      indexers: {
        broken: () => {
          throw new Error("of an index");
        },
      },
    });
    await informer.whenSynced(AbortSignal.timeout(30_000));
    expect(informer.get(NAMESPACE, "good")).not.toHaveProperty("data");
    expect(informer.get(NAMESPACE, "bad")).toBeUndefined();
    expect(errors).toContainEqual(new Error("of trim"));
    expect(errors).toContainEqual(new Error("of an index"));
    expect(informer.stats().badFrames).toBeGreaterThan(0);
  });

  it("outlives cuts, an expired version and a restart, and tells each change once", async () => {
    const k8s = await startKubernetes();
    const engine = await startEngine(k8s);
    const informer = engine.informer<ConfigMap>({ ...CONFIG_MAPS, namespaces: [NAMESPACE] });
    await informer.whenSynced(AbortSignal.timeout(30_000));
    const told: string[] = [];
    informer.subscribe(({ type, object }) => told.push(`${type} ${object.metadata.name}`), { replay: false });
    const harms: [string, () => unknown][] = [
      ["a", () => k8s.faults.cutWatches({ how: "reset" })],
      [
        "b",
        () => {
          k8s.faults.expireVersions();
          k8s.faults.cutWatches();
        },
      ],
      ["c", () => k8s.restart({ downMs: 50 })],
    ];
    for (const [name, harm] of harms) {
      const added = change(informer, "added", name);
      await harm();
      k8s.objects.create("configmaps", configMap(name, {}));
      await added;
    }
    expect(told).toEqual(["added a", "added b", "added c"]);
  });

  it("says on the engine's bus what it may not watch, and that it may again", async () => {
    const rule = { apiGroups: ["", "batch"], resources: ["jobs", "pods"], verbs: ["list", "watch"] };
    const k8s = await startKubernetes({ users: [{ name: "u", token: "t", rules: [rule] }] });
    const engine = await startEngine(k8s, { kubeConfig: kubeConfigOf(k8s, "t") });
    const problem = new Promise((resolve) => engine.on("problem", resolve));
    const recovered = new Promise((resolve) => engine.on("recovered", resolve));
    const informer = engine.informer({ ...CONFIG_MAPS, namespaces: [NAMESPACE] });
    await expect(informer.whenSynced()).rejects.toThrow(/403 Forbidden.*cannot watch resource "configmaps"/);
    expect(await problem).toMatchObject({ resource: "configmaps", namespace: NAMESPACE });
    expect(engine.server.isDown).toBe(false);
    k8s.authorization.setRules("u", [{ ...rule, resources: ["jobs", "pods", "configmaps"] }]);
    expect(await recovered).toEqual({ resource: "configmaps", namespace: NAMESPACE });
    await informer.whenSynced();
  });

  it("says what kept a wait for it from its end", async () => {
    const k8s = await startKubernetes();
    const engine = await startEngine(k8s);
    const informer = engine.informer({ group: "example.com", version: "v1", plural: "widgets" });
    const failed = status(informer, () => informer.freshness().error !== null);
    await expect(informer.whenSynced(timeoutAfter(failed))).rejects.toThrow(
      /widgets could not be listed from https:.*404.*given up: .*timeout/,
    );
  });

  it("ends with the engine, or before it", async () => {
    const k8s = await startKubernetes();
    const engine = await startEngine(k8s);
    {
      await using mine = engine.informer({ ...CONFIG_MAPS, namespaces: [NAMESPACE] });
      await mine.whenSynced();
      expect(engine.stats().informers).toHaveLength(3);
    }
    expect(engine.stats().informers).toHaveLength(2);
    const other = engine.informer({ ...CONFIG_MAPS, namespaces: [NAMESPACE] });
    const synced = expect(other.whenSynced()).rejects.toThrow("The informer was stopped");
    await engine[Symbol.asyncDispose]();
    await synced;
    expect(other.stopped.aborted).toBe(true);
    expect(() => engine.informer(CONFIG_MAPS)).toThrow("The run engine was stopped");
  });

  it.each([
    [{ version: "", plural: "widgets" }, /version must be an API version such as v1; got ""/],
    [{ version: "v1", plural: "Widgets" }, /plural must be .*; got "Widgets"/],
    [{ version: "v1", plural: "pods/../secrets" }, /plural must be .*; got "pods/],
    [{ version: "v1", plural: "widgets", group: "a/b" }, /group must be .*; got "a\/b"/],
    [{ version: "v1", plural: "widgets", namespaces: [] }, /namespaces must be .*; got \[\]/],
    [{ version: "v1", plural: "widgets", namespaces: ["*"] }, /namespaces must be .*; got \["\*"\]/],
  ])("refuses %j and names it", async (options, message) => {
    const k8s = await startKubernetes();
    const engine = await startEngine(k8s);
    expect(() => engine.informer(options)).toThrow(message);
    expect(engine.stats().informers).toHaveLength(2);
  });
});

it("a view ends with its block", async () => {
  const k8s = await startKubernetes();
  const engine = await startEngine(k8s, { shard: { value: "one" } });
  {
    await using view = await engine.openView(NAMESPACE, {});
    expect(view.jobs.synced).toBe(true);
    expect(engine.stats().informers).toHaveLength(4);
  }
  expect(engine.stats().informers).toHaveLength(2);
});
