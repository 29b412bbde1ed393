/** Secrets planted everywhere in a run of `claude_k8s`, and searched for in everything that leaves the adapter but the run's Secret. */
import { inspect } from "node:util";
import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createK8sAdapter } from "../../../src/adapter/create-adapter.ts";
import { claudeDefinition } from "../../../src/claude/definition.ts";
import { ApiError, Cluster, leaseEngine, loadKubeConfig } from "../../../src/engine/index.ts";
import { NAMESPACE, run, startWorld, type World } from "../adapter/world.ts";

const CANARIES = {
  runToken: "canary-run-token-0001",
  apiKey: "sk-ant-canary-0002",
  boundVariable: "canary-bound-0003",
  urlPassword: "canary-password-0004",
  mcpHeader: "canary-mcp-header-0005",
  mcpServer: "canary-mcp-server-0006",
  kubeToken: "canary-kube-token-0007",
};

let world: World;
beforeAll(async () => {
  world = await startWorld();
  world.k8s.addUser({
    name: "canary",
    token: CANARIES.kubeToken,
    groups: ["system:masters"],
  });
  world.k8s.addProgram("claude", async function* () {
    yield '{"type":"system","subtype":"init","session_id":"S","model":"m"}';
    yield '{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"S"}';
    return 0;
  });
});
afterAll(() => world.stop());

function search(what: string, ...texts: readonly string[]): void {
  for (const [name, canary] of Object.entries(CANARIES)) {
    const forms = [canary, Buffer.from(canary).toString("base64").replaceAll("=", ""), encodeURIComponent(canary)];
    for (const text of texts) for (const form of forms) expect(text.includes(form), `${name} in ${what}`).toBe(false);
  }
}

const agent = {
  id: "canary",
  companyId: "c",
  name: "n",
  adapterType: "claude_k8s",
  adapterConfig: { env: { INNOCENT: { type: "secret_ref" } } },
};
const overrides = {
  agent,
  authToken: CANARIES.runToken,
  runtimeMcp: { getServers: () => [{ name: "m", url: "http://m", token: CANARIES.mcpServer, connectionId: "c" }] },
} as unknown as Partial<AdapterExecutionContext>;

test("no log, event, meta, result, Job, pod or event of the cluster has a secret, whether the run goes well or not", async () => {
  const objects: string[] = [];
  const stop = world.k8s.objects.onChange(({ resource, object }) => {
    if (resource !== "secrets") objects.push(JSON.stringify(object));
  });
  const adapter = createK8sAdapter(claudeDefinition(), { env: world.env, connectTimeoutMs: 3_000 });
  const kubeconfig = await world.kubeconfigFor(CANARIES.kubeToken);
  const config = {
    kubeconfig,
    env: {
      ANTHROPIC_API_KEY: CANARIES.apiKey,
      INNOCENT: CANARIES.boundVariable,
      DATABASE: `postgres://me:${CANARIES.urlPassword}@db/x`,
    },
    mcpServers: {
      tools: { type: "http", url: "http://tools", headers: { Authorization: `Bearer ${CANARIES.mcpHeader}` } },
    },
  };
  const faults: [string, () => { remove(): void } | undefined, Record<string, unknown>][] = [
    ["goes well", () => undefined, {}],
    [
      "create refused",
      () => world.k8s.faults.errorRate({ status: 422, match: { verb: "create", resource: "jobs" } }),
      {},
    ],
    [
      "Secret refused",
      () => world.k8s.faults.errorRate({ status: 403, match: { verb: "create", resource: "secrets" } }),
      {},
    ],
    ["configuration refused", () => undefined, { tolerations: CANARIES.apiKey.slice(0, 3) }],
  ];
  for (const [what, begin, more] of faults) {
    const fault = begin();
    const each = run(world, adapter, { overrides: { ...overrides, runId: what }, config: { ...config, ...more } });
    const result = await each.result;
    fault?.remove();
    expect(result.exitCode === 0, what).toBe(what === "goes well");
    search(what, JSON.stringify([each.log, each.meta, each.events, result]));
  }
  stop();
  expect(objects.some((text) => text.includes('"kind":"Job"'))).toBe(true);
  search("an object of the cluster", ...objects);
});

test("nor has an error, a statistic or a recorded trace of the engine", async () => {
  const kubeConfig = loadKubeConfig(await world.kubeconfigFor(CANARIES.kubeToken));
  const cluster = new Cluster({ kubeConfig });
  const fault = world.k8s.faults.errorRate({ status: 500, match: { verb: "get", resource: "jobs" } });
  const error = await cluster
    .json({ path: `/apis/batch/v1/namespaces/${NAMESPACE}/jobs/x` })
    .catch((reason: unknown) => reason);
  fault.remove();
  expect(error).toBeInstanceOf(ApiError);
  search(
    "an error",
    JSON.stringify(error),
    inspect(error, { depth: 9, showHidden: true }),
    String((error as Error).stack),
  );
  search("the request counts", JSON.stringify(cluster.requests.snapshot()));
  await cluster.close();
  const { engine, release } = await leaseEngine({ kubeConfig, namespace: NAMESPACE, labels: { "a/b": "c" } });
  search("the engine's statistics", JSON.stringify(engine.stats()));
  release();
  // A token that the server does not take is not repeated in what it is told.
  world.k8s.authorization.expireToken(CANARIES.kubeToken);
  const refused = new Cluster({ kubeConfig });
  const unauthorized = await refused.json({ path: "/api/v1/pods" }).catch((reason: unknown) => reason);
  await refused.close();
  expect(unauthorized).toBeInstanceOf(ApiError);
  search("a 401", JSON.stringify(unauthorized), inspect(unauthorized, { depth: 9 }));
});
