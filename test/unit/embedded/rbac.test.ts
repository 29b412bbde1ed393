import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EmbeddedKubernetes, type PolicyRule } from "../../../src/embedded/index.ts";
import { Client, secret } from "./http-client.ts";

const JOBS = "/apis/batch/v1/namespaces/ex/jobs";
const SECRETS = "/api/v1/namespaces/ex/secrets";

describe("authentication and authorization", () => {
  let k8s: EmbeddedKubernetes;
  let client: Client;
  let users = 0;

  beforeAll(async () => {
    k8s = await EmbeddedKubernetes.start({ namespaces: ["ex", "other"] });
    client = new Client(k8s);
  });
  afterAll(async () => {
    client.close();
    await k8s.stop();
  });

  function user(rules?: PolicyRule[]): { name: string; token: string } {
    const name = `user-${++users}`;
    return { name, token: k8s.addUser({ name, ...(rules === undefined ? {} : { rules }) }) };
  }
  async function statusOf(path: string, token: string | null, method = "GET", body?: unknown): Promise<number> {
    return (await client.call({ method, path, token, ...(body === undefined ? {} : { body }) })).status;
  }

  it("a user without rules may discover and ask about itself, and nothing else", async () => {
    const { token } = user();
    expect(await statusOf("/apis", token)).toBe(200);
    expect(await statusOf(JOBS, token)).toBe(403);
    const review = {
      spec: { resourceAttributes: { verb: "list", group: "batch", resource: "jobs", namespace: "ex" } },
    };
    const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    expect((await client.call({ method: "POST", path, token, body: review })).json.status).toEqual({ allowed: false });
  });

  it("rules hold for their verbs, groups, resources and namespaces only", async () => {
    const { token } = user([
      { apiGroups: ["batch"], resources: ["jobs"], verbs: ["list", "create"], namespaces: ["ex"] },
    ]);
    expect(await statusOf(JOBS, token)).toBe(200);
    expect(await statusOf(`${JOBS}?watch=1`, token)).toBe(403);
    expect(await statusOf(`${JOBS}/a`, token)).toBe(403);
    expect(await statusOf("/apis/batch/v1/namespaces/other/jobs", token)).toBe(403);
    expect(await statusOf("/apis/batch/v1/jobs", token)).toBe(403);
    expect(await statusOf("/api/v1/namespaces/ex/pods", token)).toBe(403);
  });

  it("a subresource is a resource of its own", async () => {
    const { token } = user([{ apiGroups: [""], resources: ["pods"], verbs: ["*"] }]);
    const path = "/api/v1/namespaces/ex/pods/none/log";
    expect(await statusOf(path, token)).toBe(403);
    const other = user([{ apiGroups: [""], resources: ["pods/log"], verbs: ["get"] }]);
    expect(await statusOf(path, other.token)).toBe(404);
  });

  it("resourceNames restrict to names", async () => {
    k8s.objects.create("secrets", { metadata: { name: "mine", namespace: "ex" } });
    k8s.objects.create("secrets", { metadata: { name: "theirs", namespace: "ex" } });
    const { token } = user([{ apiGroups: [""], resources: ["secrets"], verbs: ["get"], resourceNames: ["mine"] }]);
    expect(await statusOf(`${SECRETS}/mine`, token)).toBe(200);
    expect(await statusOf(`${SECRETS}/theirs`, token)).toBe(403);
    expect(await statusOf(SECRETS, token)).toBe(403);
  });

  it("rules and tokens change while the server runs", async () => {
    const { name, token } = user();
    expect(await statusOf(SECRETS, token)).toBe(403);
    k8s.authorization.setRules(name, [{ apiGroups: ["*"], resources: ["*"], verbs: ["*"] }]);
    expect(await statusOf(SECRETS, token)).toBe(200);
    k8s.authorization.expireToken(token);
    expect(await statusOf(SECRETS, token)).toBe(401);
    const renewed = k8s.addUser({ name });
    expect(await statusOf(SECRETS, renewed)).toBe(200);
  });

  it("nothing is created by who may not", async () => {
    const { token } = user();
    expect(await statusOf(SECRETS, token, "POST", secret("forbidden"))).toBe(403);
    expect(k8s.objects.get("secrets", "ex", "forbidden")).toBeUndefined();
  });

  it("a client certificate names its user and groups, also after the TLS session was resumed", async () => {
    const config = await k8s.kubeconfigWithCertificate({ name: "jane", groups: ["dev", "ops"] });
    const credentials = config.users[0]?.user ?? {};
    const { Agent, request } = await import("node:https");
    const agent = new Agent({
      ca: k8s.ca,
      cert: Buffer.from(credentials["client-certificate-data"] ?? "", "base64"),
      key: Buffer.from(credentials["client-key-data"] ?? "", "base64"),
      maxCachedSessions: 10,
    });
    const whoami = () =>
      new Promise<string>((resolve, reject) => {
        const path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        const call = request(new URL(path, k8s.url), { method: "POST", agent, headers: { connection: "close" } });
        call.on("response", (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (chunk: string) => {
            text += chunk;
          });
          response.on("end", () => resolve(text));
        });
        call.on("error", reject);
        call.end("{}");
      });
    for (const text of [await whoami(), await whoami()]) {
      const { userInfo } = JSON.parse(text).status;
      expect(userInfo.username).toBe("jane");
      expect(userInfo.groups).toEqual(expect.arrayContaining(["dev", "ops", "system:authenticated"]));
    }
    agent.destroy();
  });

  it("a certificate of another authority is nobody's", async () => {
    const other = await EmbeddedKubernetes.start();
    const credentials = other.kubeconfig.users[0]?.user ?? {};
    const { request } = await import("node:https");
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const call = request(new URL(JOBS, k8s.url), {
        ca: k8s.ca,
        agent: false,
        cert: Buffer.from(credentials["client-certificate-data"] ?? "", "base64"),
        key: Buffer.from(credentials["client-key-data"] ?? "", "base64"),
      });
      call.on("response", (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      call.on("error", reject);
      call.end();
    });
    await other.stop();
    expect(status).toBe(401);
  });

  it("health and version are for everybody, other paths are not", async () => {
    expect(await statusOf("/readyz", null)).toBe(200);
    expect(await statusOf("/version", null)).toBe(200);
    expect(await statusOf("/apis", null)).toBe(403);
  });

  it("rights are revoked and granted again, the admin's as well; an open watch goes on", async () => {
    const open = await client.watch(`${SECRETS}?watch=1&resourceVersion=${k8s.objects.resourceVersion}`);
    const revoked = k8s.authorization.revoke({ apiGroups: [""], resources: ["secrets"], verbs: ["list", "watch"] });
    const refused = await client.call({ path: SECRETS });
    expect(refused.json).toMatchObject({
      code: 403,
      message: expect.stringMatching(/User "kubernetes-admin" cannot list resource "secrets"/),
    });
    const review = { spec: { resourceAttributes: { verb: "watch", group: "", resource: "secrets", namespace: "ex" } } };
    const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    expect((await client.call({ method: "POST", path, body: review })).json.status).toEqual({ allowed: false });
    expect((await client.call({ method: "POST", path: SECRETS, body: secret("meanwhile") })).status).toBe(201);
    expect((await open.next())?.object.metadata.name).toBe("meanwhile");
    expect(revoked.hits).toBe(1);
    revoked.remove();
    expect((await client.call({ path: SECRETS })).status).toBe(200);
  });
});
