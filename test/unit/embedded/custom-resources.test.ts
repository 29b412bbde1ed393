/** CustomResourceDefinitions and the objects of their kinds, over the wire. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { type KubeObject, loadKubeConfig, RunEngine } from "../../../src/engine/index.ts";
import { Client } from "./http-client.ts";

let k8s: EmbeddedKubernetes;
let client: Client;
beforeAll(async () => {
  k8s = await EmbeddedKubernetes.start({ namespaces: ["one", "two"] });
  client = new Client(k8s);
});
afterAll(() => k8s.stop());

const DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

function definition(plural: string, kind: string, more: object = {}, version: object = {}) {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.example.com` },
    spec: {
      group: "example.com",
      scope: "Namespaced",
      names: { plural, kind, shortNames: [plural.slice(0, 2)] },
      versions: [{ name: "v1", served: true, storage: true, ...version }],
      ...more,
    },
  };
}

async function define(body: object): Promise<void> {
  expect((await client.call({ method: "POST", path: DEFINITIONS, body })).status).toBe(201);
}

const object = (kind: string, name: string, more: object = {}) => ({
  apiVersion: "example.com/v1",
  kind,
  metadata: { name },
  ...more,
});

test("a kind is served once it is defined, found by discovery, and gone with its definition", async () => {
  const path = "/apis/example.com/v1/namespaces/one/gadgets";
  expect((await client.call({ path })).status).toBe(404);
  await define(definition("gadgets", "Gadget"));
  const { json: defined } = await client.call({ path: `${DEFINITIONS}/gadgets.example.com` });
  expect(defined.status.conditions).toContainEqual(expect.objectContaining({ type: "Established", status: "True" }));
  expect(defined.spec.names).toMatchObject({ listKind: "GadgetList", singular: "gadget" });

  const body = object("Gadget", "g", { spec: { size: 1 } });
  const { status, json } = await client.call({ method: "POST", path, body });
  expect(status).toBe(201);
  expect(json).toMatchObject({ ...body, metadata: { name: "g", namespace: "one", generation: 1 } });
  expect((await client.call({ path })).json).toMatchObject({ kind: "GadgetList", apiVersion: "example.com/v1" });
  expect((await client.call({ path: "/apis/example.com/v1/gadgets" })).json.items).toHaveLength(1);
  const { json: groups } = await client.call({ path: "/apis" });
  expect(groups.groups.map(({ name }: { name: string }) => name)).toContain("example.com");
  const { json: resources } = await client.call({ path: "/apis/example.com/v1" });
  expect(resources.resources).toMatchObject([
    { name: "gadgets", kind: "Gadget", namespaced: true, shortNames: ["ga"] },
  ]);

  const watch = await client.watch(`${path}?watch=1&resourceVersion=${json.metadata.resourceVersion}`);
  expect((await client.call({ method: "DELETE", path: `${DEFINITIONS}/gadgets.example.com` })).status).toBe(200);
  expect(await watch.next()).toMatchObject({ type: "DELETED", object: { metadata: { name: "g" } } });
  watch.close();
  expect((await client.call({ path })).status).toBe(404);
});

test("another cluster of the process does not know it", async () => {
  await define(definition("privates", "Private"));
  const other = await EmbeddedKubernetes.start();
  const path = "/apis/example.com/v1/namespaces/default/privates";
  expect((await new Client(other).call({ path })).status).toBe(404);
  await other.stop();
});

test("generation counts changes of the spec; a status that is a part of its own is written by its path alone", async () => {
  await define(definition("devices", "Device", {}, { subresources: { status: {} } }));
  const path = "/apis/example.com/v1/namespaces/one/devices";
  const body = object("Device", "d", { spec: { on: false }, status: { is: "ignored" } });
  const { json: created } = await client.call({ method: "POST", path, body });
  expect(created).not.toHaveProperty("status");
  const patch = (at: string, change: object) =>
    client.call({
      method: "PATCH",
      path: `${path}/d${at}`,
      body: change,
      headers: { "content-type": "application/merge-patch+json" },
    });
  expect((await patch("", { spec: { on: true } })).json.metadata.generation).toBe(2);
  expect((await patch("/status", { status: { is: "on" } })).json).toMatchObject({
    metadata: { generation: 2 },
    spec: { on: true },
    status: { is: "on" },
  });
  expect((await patch("", { status: { is: "off" } })).json.status).toEqual({ is: "on" });
  const unversioned = { ...object("Device", "d"), spec: {} };
  expect((await client.call({ method: "PUT", path: `${path}/d`, body: unversioned })).status).toBe(422);
});

test("without that part the status is a field as any other, and lists have no strategic merge", async () => {
  await define(definition("plains", "Plain", { scope: "Cluster" }));
  const path = "/apis/example.com/v1/plains";
  const body = object("Plain", "p", { status: { is: "kept" } });
  expect((await client.call({ method: "POST", path, body })).json.status).toEqual({ is: "kept" });
  const strategic = { "content-type": "application/strategic-merge-patch+json" };
  const { status } = await client.call({ method: "PATCH", path: `${path}/p`, body: {}, headers: strategic });
  expect(status).toBe(415);
  expect((await client.call({ path: `${path}/p/status` })).status).toBe(404);
});

test.each([
  [{ ...definition("as", "A"), metadata: { name: "other.example.com" } }, 'must be spec.names.plural+"."+spec.group'],
  [
    definition("bs", "B", { scope: "Galaxy" }),
    'Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"',
  ],
  [definition("cs", "C", { versions: [] }), "must have exactly one version marked as storage version"],
  [definition("ds", "", {}), "spec.names.kind: Required value"],
])("a definition that cannot be: %#", async (body, message) => {
  const { status, json } = await client.call({ method: "POST", path: DEFINITIONS, body });
  expect(status).toBe(422);
  expect(json.message).toContain(message);
});

test("an owner of any kind takes what it owns with it, and a namespace its custom objects", async () => {
  await define(definition("boxes", "Box"));
  const path = "/apis/example.com/v1/namespaces/two/boxes";
  const { json } = await client.call({ method: "POST", path, body: object("Box", "b") });
  k8s.objects.create("configmaps", {
    metadata: {
      name: "owned",
      namespace: "two",
      ownerReferences: [{ apiVersion: "example.com/v1", kind: "Box", name: "b", uid: json.metadata.uid }],
    },
  });
  await client.call({ method: "DELETE", path: `${path}/b` });
  await k8s.objects.until(() => k8s.objects.get("configmaps", "two", "owned") === undefined);
  await client.call({ method: "POST", path, body: object("Box", "c") });
  await client.call({ method: "DELETE", path: "/api/v1/namespaces/two" });
  await k8s.objects.until(() => k8s.objects.get("namespaces", "", "two") === undefined);
  expect(k8s.objects.list("boxes.example.com")).toEqual([]);
});

test("an informer keeps them, over a cut and an expired version", async () => {
  interface Widget extends KubeObject {
    spec: { size: number };
  }
  await define(definition("widgets", "Widget"));
  const path = "/apis/example.com/v1/namespaces/one/widgets";
  await client.call({ method: "POST", path, body: object("Widget", "a", { spec: { size: 1 } }) });
  await using engine = await RunEngine.start({
    kubeConfig: loadKubeConfig(k8s.kubeconfig),
    namespace: "one",
    labels: { app: "x" },
  });
  const informer = engine.informer<Widget>({
    group: "example.com",
    version: "v1",
    plural: "widgets",
    namespaces: ["one"],
    indexers: { size: ({ spec }) => String(spec.size) },
  });
  await informer.whenSynced(AbortSignal.timeout(30_000));
  expect(informer.byIndex("size", "1").map(({ metadata }) => metadata.name)).toEqual(["a"]);
  k8s.faults.expireVersions();
  k8s.faults.cutWatches();
  const added = new Promise((resolve) => informer.subscribe(({ object }) => resolve(object), { replay: false }));
  await client.call({ method: "POST", path, body: object("Widget", "b", { spec: { size: 2 } }) });
  expect(await added).toMatchObject({ metadata: { name: "b" }, spec: { size: 2 } });
});
