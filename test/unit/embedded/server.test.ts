import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { Client, secret } from "./http-client.ts";

const SECRETS = "/api/v1/namespaces/ex/secrets";

describe("API server", () => {
  let k8s: EmbeddedKubernetes;
  let client: Client;

  beforeAll(async () => {
    k8s = await EmbeddedKubernetes.start({ namespaces: ["ex", "pages", "gone"] });
    client = new Client(k8s);
  });
  afterAll(async () => {
    client.close();
    await k8s.stop();
  });

  it("speaks HTTP/1.1 as well as HTTP/2, with one certificate authority", async () => {
    const second = await client.call({ path: "/version" });
    const first = await client.call1({ path: "/version" });
    expect(first.json).toEqual(second.json);
    expect(second.json.gitVersion).toMatch(/^v1\./);
  });

  it("describes itself to clients that discover", async () => {
    const { json } = await client.call({ path: "/apis/batch/v1" });
    expect(json.resources).toContainEqual(expect.objectContaining({ name: "jobs", kind: "Job", namespaced: true }));
    const groups = await client.call({ path: "/apis" });
    expect(groups.json.groups.map((group: { name: string }) => group.name)).toContain("authorization.k8s.io");
  });

  it("makes a name of generateName, and keeps what it fills in", async () => {
    const { status, json } = await client.call({
      method: "POST",
      path: SECRETS,
      body: { metadata: { generateName: "gen-" }, data: { a: "YQ==" } },
      headers: { "user-agent": "suite/1.0" },
    });
    expect(status).toBe(201);
    expect(json.metadata.name).toMatch(/^gen-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
    expect(json).toMatchObject({ kind: "Secret", apiVersion: "v1", type: "Opaque" });
    expect(json.metadata.managedFields[0]).toMatchObject({ manager: "suite", operation: "Update" });
  });

  it("answers and stores what admission makes of a new object", async () => {
    const remove = k8s.objects.onCreate((resource, draft) => {
      if (resource === "secrets") draft.metadata.labels = { ...draft.metadata.labels, admitted: "yes" };
    });
    const { json } = await client.call({ method: "POST", path: SECRETS, body: secret("admitted") });
    remove();
    expect(json.metadata.labels).toMatchObject({ admitted: "yes" });
    expect((await client.call({ path: `${SECRETS}/admitted` })).json.metadata).toEqual(json.metadata);
    const { json: later } = await client.call({ method: "POST", path: SECRETS, body: secret("later") });
    expect(later.metadata.labels ?? {}).not.toHaveProperty("admitted");
  });

  it("stores nothing in a dry run", async () => {
    const { status } = await client.call({ method: "POST", path: `${SECRETS}?dryRun=All`, body: secret("dry") });
    expect(status).toBe(201);
    expect((await client.call({ path: `${SECRETS}/dry` })).status).toBe(404);
  });

  it("refuses a PUT with an old resourceVersion, and takes one with the present", async () => {
    const created = (await client.call({ method: "POST", path: SECRETS, body: secret("put") })).json;
    const changed = { ...created, data: { key: "Yg==" } };
    const first = await client.call({ method: "PUT", path: `${SECRETS}/put`, body: changed });
    expect(first.status).toBe(200);
    expect(first.json.data).toEqual({ key: "Yg==" });
    expect(first.json.metadata.uid).toBe(created.metadata.uid);
    const second = await client.call({ method: "PUT", path: `${SECRETS}/put`, body: changed });
    expect(second.json).toMatchObject({ code: 409, reason: "Conflict" });
  });

  it("does not raise the version when nothing changes", async () => {
    const created = (await client.call({ method: "POST", path: SECRETS, body: secret("same") })).json;
    const patch = { method: "PATCH", path: `${SECRETS}/same`, body: { data: created.data } };
    const { json } = await client.call({ ...patch, headers: { "content-type": "application/merge-patch+json" } });
    expect(json.metadata.resourceVersion).toBe(created.metadata.resourceVersion);
  });

  it("keeps an object with finalizers until the last one is gone", async () => {
    const body = secret("kept");
    await client.call({
      method: "POST",
      path: SECRETS,
      body: { ...body, metadata: { ...body.metadata, finalizers: ["x/y"] } },
    });
    const deleted = await client.call({ method: "DELETE", path: `${SECRETS}/kept` });
    expect(deleted.json.metadata.deletionTimestamp).toBeDefined();
    expect((await client.call({ path: `${SECRETS}/kept` })).status).toBe(200);
    await client.call({
      method: "PATCH",
      path: `${SECRETS}/kept`,
      body: { metadata: { finalizers: null } },
      headers: { "content-type": "application/merge-patch+json" },
    });
    expect((await client.call({ path: `${SECRETS}/kept` })).status).toBe(404);
  });

  it("deletes a collection by selector", async () => {
    for (const name of ["c1", "c2"])
      await client.call({ method: "POST", path: SECRETS, body: secret(name, { c: "1" }) });
    await client.call({ method: "POST", path: SECRETS, body: secret("c3", { c: "2" }) });
    const { status } = await client.call({ method: "DELETE", path: `${SECRETS}?labelSelector=c%3D1` });
    expect(status).toBe(200);
    const names = k8s.objects.list("secrets", "ex").map((object) => object.metadata.name);
    expect(names).toContain("c3");
    expect(names).not.toContain("c1");
  });

  it("empties a namespace that is deleted, and refuses to create in it meanwhile", async () => {
    const path = "/api/v1/namespaces/gone/secrets";
    await client.call({ method: "POST", path, body: { metadata: { name: "last", finalizers: ["x/y"] } } });
    const deleted = await client.call({ method: "DELETE", path: "/api/v1/namespaces/gone" });
    expect(deleted.json.status.phase).toBe("Terminating");
    const refused = await client.call({ method: "POST", path, body: secret("late") });
    expect(refused.json).toMatchObject({ code: 403, details: { causes: [{ reason: "NamespaceTerminating" }] } });
    k8s.objects.update("secrets", "gone", "last", (draft) => {
      draft.metadata.finalizers = [];
    });
    expect((await client.call({ path: "/api/v1/namespaces/gone" })).status).toBe(404);
  });

  it.each([
    ["an annotation that is too large", { metadata: { name: "v", annotations: { a: "x".repeat(300_000) } } }, 422],
    ["a label that is a number", { metadata: { name: "v", labels: { a: 1 } } }, 400],
    ["data that is no base64", { metadata: { name: "v" }, data: { a: "???" } }, 400],
    ["a key that is none", { metadata: { name: "v" }, data: { "a/b": "YQ==" } }, 422],
    ["another kind", { kind: "ConfigMap", apiVersion: "v1", metadata: { name: "v" } }, 400],
    ["another namespace", { metadata: { name: "v", namespace: "default" } }, 400],
    ["no name", { metadata: {} }, 422],
  ])("refuses %s", async (_what, body, status) => {
    const answer = await client.call({ method: "POST", path: SECRETS, body });
    expect(answer.status).toBe(status);
    expect(answer.json).toMatchObject({ kind: "Status", status: "Failure", code: status });
  });

  it("answers a body of more than 3 MiB with 413", async () => {
    const answer = await client.call({ method: "POST", path: SECRETS, body: { data: "x".repeat(3 * 1024 * 1024) } });
    expect(answer.json).toMatchObject({ code: 413, reason: "RequestEntityTooLarge" });
  });

  describe("selectors", () => {
    beforeAll(() => {
      k8s.objects.create("namespaces", { metadata: { name: "sel" } });
      for (const [name, labels] of Object.entries({
        a: { app: "x", tier: "1" },
        b: { app: "y", tier: "2" },
        c: { app: "x" },
        d: {},
      })) {
        k8s.objects.create("configmaps", { metadata: { name, namespace: "sel", labels } });
      }
    });

    it.each([
      ["app=x", "a c"],
      ["app==x,tier=1", "a"],
      ["app!=x", "b d"],
      ["app in (x, y)", "a b c"],
      ["app notin (x)", "b d"],
      ["tier", "a b"],
      ["!tier", "c d"],
      ["tier in (1,2),app=y", "b"],
      ["", "a b c d"],
    ])("labels %s", async (selector, names) => {
      const path = `/api/v1/namespaces/sel/configmaps?labelSelector=${encodeURIComponent(selector)}`;
      const { json } = await client.call({ path });
      expect(json.items.map((item: { metadata: { name: string } }) => item.metadata.name).join(" ")).toBe(names);
    });

    it.each([
      ["metadata.name=b", "b"],
      ["metadata.name!=b", "a c d"],
      ["metadata.namespace=sel,metadata.name==a", "a"],
    ])("fields %s", async (selector, names) => {
      const path = `/api/v1/namespaces/sel/configmaps?fieldSelector=${encodeURIComponent(selector)}`;
      const { json } = await client.call({ path });
      expect(json.items.map((item: { metadata: { name: string } }) => item.metadata.name).join(" ")).toBe(names);
    });

    it.each(["app in x", "app in (x", "a=b,", "=b", "a~b", "a=not valid!"])("refuses %s", async (selector) => {
      const path = `/api/v1/namespaces/sel/configmaps?labelSelector=${encodeURIComponent(selector)}`;
      expect((await client.call({ path })).json).toMatchObject({ code: 400, reason: "BadRequest" });
    });
  });

  describe("paging", () => {
    const path = "/api/v1/namespaces/pages/secrets";
    const names = Array.from({ length: 7 }, (_, i) => `s${i}`);

    beforeAll(() => {
      for (const name of names) k8s.objects.create("secrets", { metadata: { name, namespace: "pages" } });
    });

    it("shows one moment over all pages", async () => {
      const first = (await client.call({ path: `${path}?limit=3` })).json;
      expect(first.metadata.remainingItemCount).toBe(4);
      k8s.objects.create("secrets", { metadata: { name: "s55", namespace: "pages" } });
      k8s.objects.delete("secrets", "pages", "s6");
      const seen = [...first.items];
      let { continue: token } = first.metadata;
      while (token !== undefined) {
        const page = (await client.call({ path: `${path}?limit=3&continue=${token}` })).json;
        expect(page.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
        seen.push(...page.items);
        token = page.metadata.continue;
      }
      expect(seen.map((item) => item.metadata.name)).toEqual(names);
    });

    it("answers an expired token with 410, and with a token for the inconsistent rest", async () => {
      const first = (await client.call({ path: `${path}?limit=2` })).json;
      k8s.faults.expireVersions();
      const gone = await client.call({ path: `${path}?limit=100&continue=${first.metadata.continue}` });
      expect(gone.json).toMatchObject({ code: 410, reason: "Expired" });
      const rest = await client.call({ path: `${path}?limit=100&continue=${gone.json.metadata.continue}` });
      expect(rest.json.items[0].metadata.name).toBe("s2");
    });

    it("leaves kind and apiVersion out of the items", async () => {
      const { json } = await client.call({ path });
      expect(json.kind).toBe("SecretList");
      expect(Object.keys(json.items[0])[0]).toBe("metadata");
    });

    it.each([
      ["resourceVersionMatch=NotOlderThan", 422],
      ["resourceVersion=0&resourceVersionMatch=Exact", 422],
      ["resourceVersion=1&resourceVersionMatch=Exact", 410],
      ["resourceVersion=99999999&resourceVersionMatch=NotOlderThan", 504],
      ["resourceVersion=abc", 400],
      ["limit=x", 400],
      ["sendInitialEvents=true", 422],
    ])("?%s is answered with %i", async (query, status) => {
      expect((await client.call({ path: `${path}?${query}` })).status).toBe(status);
    });
  });

  describe("patch", () => {
    const path = "/api/v1/namespaces/ex/configmaps/patched";
    const patch = async (type: string, body: unknown) =>
      client.call({ method: "PATCH", path, body, headers: { "content-type": type } });

    beforeAll(() => {
      k8s.objects.create("configmaps", {
        metadata: { name: "patched", namespace: "ex", labels: { a: "1" } },
        data: { k: "v" },
      });
    });

    it("json-patch: add, replace, test, remove, move", async () => {
      const { json } = await patch("application/json-patch+json", [
        { op: "test", path: "/metadata/labels/a", value: "1" },
        { op: "add", path: "/metadata/labels/x.io~1b", value: "2" },
        { op: "move", from: "/data/k", path: "/data/moved" },
        { op: "add", path: "/data/~0tilde", value: "t" },
        { op: "remove", path: "/data/~0tilde" },
      ]);
      expect(json.metadata.labels).toEqual({ a: "1", "x.io/b": "2" });
      expect(json.data).toEqual({ moved: "v" });
    });

    it("json-patch: nothing happens when a test fails or a path is missing", async () => {
      const before = (await client.call({ path })).json;
      const ops = [
        { op: "add", path: "/data/new", value: "1" },
        { op: "test", path: "/metadata/labels/a", value: "other" },
      ];
      expect((await patch("application/json-patch+json", ops)).status).toBe(422);
      const missing = await patch("application/json-patch+json", [{ op: "remove", path: "/data/none" }]);
      expect(missing.status).toBe(422);
      expect((await client.call({ path })).json).toEqual(before);
    });

    it("merge-patch: null removes", async () => {
      const { json } = await patch("application/merge-patch+json", { data: { moved: null, z: "1" } });
      expect(json.data).toEqual({ z: "1" });
    });

    it("a resourceVersion in the patch must be the present one", async () => {
      const answer = await patch("application/merge-patch+json", {
        metadata: { resourceVersion: "1" },
        data: { q: "1" },
      });
      expect(answer.json).toMatchObject({ code: 409, reason: "Conflict" });
    });

    it("strategic merge: lists of named items are merged by name", async () => {
      const pods = "/api/v1/namespaces/ex/pods";
      const container = { name: "c", image: "i:1" };
      const body = {
        metadata: { name: "p" },
        spec: { containers: [container, { name: "d", image: "i:1" }], nodeName: "none" },
      };
      expect((await client.call({ method: "POST", path: pods, body })).status).toBe(201);
      const { status, json } = await client.call({
        method: "PATCH",
        path: `${pods}/p`,
        body: { spec: { containers: [{ name: "c", image: "i:2" }] } },
        headers: { "content-type": "application/strategic-merge-patch+json" },
      });
      expect(status).toBe(200);
      expect(json.spec.containers.map((item: { image: string }) => item.image)).toEqual(["i:2", "i:1"]);
    });

    it("server-side apply creates, then merges", async () => {
      const apply = (data: object) =>
        client.call({
          method: "PATCH",
          path: "/api/v1/namespaces/ex/configmaps/applied?fieldManager=me",
          body: { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "applied" }, data },
          headers: { "content-type": "application/apply-patch+yaml" },
        });
      expect((await apply({ a: "1" })).status).toBe(201);
      const { json } = await apply({ a: "2" });
      expect(json.data).toEqual({ a: "2" });
      expect(json.metadata.managedFields[0]).toMatchObject({ manager: "me", operation: "Apply" });
    });

    it("an unknown patch type is answered with 415", async () => {
      expect((await patch("text/plain", {})).status).toBe(415);
    });

    it("keys such as __proto__ are data like any other", async () => {
      const body = '[{"op":"add","path":"/data","value":{"__proto__":"x"}}]';
      const { text } = await patch("application/json-patch+json", body);
      expect(text).toContain('"data":{"__proto__":"x"}');
      expect(({} as Record<string, unknown>).x).toBeUndefined();
    });
  });

  it("counts requests by verb and resource", async () => {
    k8s.requests.reset();
    await client.call({ method: "POST", path: SECRETS, body: secret("counted") });
    await client.call({ path: SECRETS });
    await client.call({ path: `${SECRETS}/counted` });
    await client.call({ path: "/api/v1/namespaces/ex/pods/none/log" });
    const { byVerb, total, bytesSent } = k8s.requests.snapshot();
    expect(byVerb).toEqual({ "create secrets": 1, "list secrets": 1, "get secrets": 1, "get pods/log": 1 });
    expect(total).toBe(4);
    expect(bytesSent).toBeGreaterThan(500);
  });

  it("counts connections", async () => {
    k8s.requests.reset();
    const open = k8s.requests.connectionsOpen;
    const other = new Client(k8s);
    await other.call({ path: "/version" });
    await other.call({ path: "/version" });
    expect(k8s.requests.connectionsOpened).toBe(1);
    expect(k8s.requests.connectionsOpen).toBe(open + 1);
    other.close();
    await expect.poll(() => k8s.requests.connectionsOpen).toBe(open);
  });
});
