import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { Client } from "./http-client.ts";

const LEASES = "/apis/coordination.k8s.io/v1/namespaces/ex/leases";

function lease(name: string, spec: Record<string, unknown> = {}, metadata: Record<string, unknown> = {}) {
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name, ...metadata },
    spec: { holderIdentity: "a", leaseDurationSeconds: 15, renewTime: micro(Date.now()), ...spec },
  };
}

function micro(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000Z");
}

describe("Leases", () => {
  let k8s: EmbeddedKubernetes;
  let client: Client;

  beforeAll(async () => {
    k8s = await EmbeddedKubernetes.start({ namespaces: ["ex"], timeScale: 0 });
    client = new Client(k8s);
  });
  afterAll(async () => {
    client.close();
    await k8s.stop();
  });

  const create = (body: unknown) => client.call({ method: "POST", path: LEASES, body });
  const put = (name: string, body: unknown) => client.call({ method: "PUT", path: `${LEASES}/${name}`, body });

  it("are discovered", async () => {
    const { json } = await client.call({ path: "/apis/coordination.k8s.io/v1" });
    expect(json.resources).toContainEqual(
      expect.objectContaining({
        name: "leases",
        kind: "Lease",
        namespaced: true,
        verbs: expect.arrayContaining(["watch"]),
      }),
    );
  });

  it("are created, read, listed, watched, replaced, patched and deleted", async () => {
    const watch = await client.watch(`${LEASES}?watch=1&resourceVersion=${k8s.objects.resourceVersion}`);
    const created = await create(lease("one"));
    expect(created.status).toBe(201);
    expect((await client.call({ path: `${LEASES}/one` })).json).toEqual(created.json);
    expect((await client.call({ path: LEASES })).json.items).toHaveLength(1);
    const replaced = await put("one", { ...created.json, spec: { ...created.json.spec, holderIdentity: "b" } });
    expect(replaced.json.spec.holderIdentity).toBe("b");
    const patched = await client.call({
      method: "PATCH",
      path: `${LEASES}/one`,
      headers: { "content-type": "application/merge-patch+json" },
      body: { spec: { leaseTransitions: 1 } },
    });
    expect(patched.json.spec).toMatchObject({ holderIdentity: "b", leaseTransitions: 1 });
    expect((await client.call({ method: "DELETE", path: `${LEASES}/one` })).json.status).toBe("Success");
    const types: (string | undefined)[] = [];
    for (let i = 0; i < 4; i++) types.push((await watch.next())?.type);
    expect(types).toEqual(["ADDED", "MODIFIED", "MODIFIED", "DELETED"]);
  });

  it("are deleted as a collection by label", async () => {
    for (const name of ["x-1", "x-2"]) await create(lease(name, {}, { labels: { x: "1" } }));
    await create(lease("stays"));
    expect((await client.call({ method: "DELETE", path: `${LEASES}?labelSelector=x%3D1` })).status).toBe(200);
    expect(k8s.objects.list("leases", "ex").map(({ metadata }) => metadata.name)).toEqual(["stays"]);
  });

  it("a replacement of an old version is a conflict, one without a version is refused", async () => {
    const { json: first } = await create(lease("contended"));
    expect((await put("contended", { ...first, spec: { ...first.spec, holderIdentity: "b" } })).status).toBe(200);
    const late = await put("contended", { ...first, spec: { ...first.spec, holderIdentity: "c" } });
    expect(late.json).toMatchObject({ code: 409, reason: "Conflict", details: { group: "coordination.k8s.io" } });
    const blind = await put("contended", lease("contended"));
    expect(blind.json).toMatchObject({ code: 422, details: { causes: [{ field: "metadata.resourceVersion" }] } });
    expect(k8s.objects.get("leases", "ex", "contended")?.spec).toMatchObject({ holderIdentity: "b" });
  });

  it("a replacement of one that is not there creates it, unless it names a uid", async () => {
    expect((await put("fresh", lease("fresh"))).status).toBe(201);
    const { json } = await client.call({ method: "DELETE", path: `${LEASES}/fresh` });
    const again = await put("fresh", lease("fresh", {}, { uid: json.details.uid }));
    expect(again.json).toMatchObject({ code: 409, reason: "Conflict" });
  });

  it("times have six digits of a second, and durations are above 0", async () => {
    const threeDigits = await create(lease("bad", { renewTime: "2026-11-28T09:00:00.123Z" }));
    expect(threeDigits.json).toMatchObject({ code: 400, message: expect.stringMatching(/parsing time/) });
    const duration = await create(lease("bad", { leaseDurationSeconds: 0 }));
    expect(duration.json).toMatchObject({ code: 422, details: { causes: [{ field: "spec.leaseDurationSeconds" }] } });
  });

  it("each renewal moves the time of its manager, by the clock that the Date header shows", async () => {
    const { json: first } = await create(lease("renewed"));
    await k8s.clock.advance(3_600_000);
    const asked = k8s.clock.now();
    const renewed = await put("renewed", { ...first, spec: { ...first.spec, renewTime: micro(k8s.clock.now()) } });
    const timeOf = (object: { metadata: { managedFields: { time: string }[] } }) =>
      Date.parse(object.metadata.managedFields.at(-1)?.time ?? "");
    expect(renewed.json.metadata.managedFields).toHaveLength(1);
    expect(timeOf(renewed.json) - timeOf(first)).toBeGreaterThanOrEqual(3_599_000);
    const answered = k8s.clock.now();
    const date = Date.parse(String(renewed.headers.date));
    expect(date - timeOf(renewed.json)).toBeGreaterThanOrEqual(-1_000);
    // The header has whole seconds.
    expect(date).toBeGreaterThan(asked - 1_000);
    expect(date).toBeLessThanOrEqual(answered);
    // Far from the machine's own clock by now.
    expect(date - Date.now()).toBeGreaterThan(60_000);
  });

  it("rights to them are checked, and reviewed", async () => {
    const rules = [{ apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["get"] }];
    const token = k8s.addUser({ name: "reader", rules });
    expect((await client.call({ path: `${LEASES}/stays`, token })).status).toBe(200);
    const refused = await client.call({ method: "DELETE", path: `${LEASES}/stays`, token });
    expect(refused.json.message).toMatch(/^leases.coordination.k8s.io "stays" is forbidden/);
    const review = async (verb: string) => {
      const { json } = await client.call({
        method: "POST",
        path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        token,
        body: {
          spec: { resourceAttributes: { verb, group: "coordination.k8s.io", resource: "leases", namespace: "ex" } },
        },
      });
      return json.status.allowed;
    };
    expect([await review("get"), await review("update")]).toEqual([true, false]);
  });
});
