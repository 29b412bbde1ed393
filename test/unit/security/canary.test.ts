/** Secrets planted everywhere in runs of `claude_k8s`, and searched for in everything that leaves the adapter but the run's Secret. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { inspect } from "node:util";
import type { AdapterExecutionContext, AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { createK8sAdapter } from "../../../src/adapter/create-adapter.ts";
import type { ExecuteOptions } from "../../../src/adapter/run/execute.ts";
import { claudeDefinition } from "../../../src/claude/definition.ts";
import { recordCommand } from "../../../src/cli/record.ts";
import type { KubeConfigFile } from "../../../src/embedded/index.ts";
import { ApiError, Cluster, leaseEngine, loadKubeConfig } from "../../../src/engine/index.ts";
import { crash, NAMESPACE, type Recorded, run, startWorld, type World } from "../adapter/world.ts";

/** In the run's Secret, and nowhere else. */
const BY_SECRET = {
  runToken: "canary-run-token-0001",
  apiKey: "sk-ant-canary-0002",
  boundVariable: "canary-bound-0003",
  urlPassword: "canary-password-0004",
  mcpHeader: "canary-mcp-header-0005",
  mcpVariable: "canary-mcp-variable-0006",
  mcpServer: "canary-mcp-server-0007",
  /** `DATABASE_URL` of the server's own pod, a literal there. */
  inherited: "hunter2hunter2",
};
/** Nowhere at all: Kubernetes itself, or nobody, hands them to the agent. */
const NOWHERE = {
  kubeToken: "canary-kube-token-0008",
  pluginVariable: "canary-plugin-0009",
  pluginArgument: "canary-argument-0010",
  toolsToken: "canary-tools-token-0011",
  contextToken: "canary-context-token-0012",
  serverVariable: "canary-server-variable-0013",
  /** Secrets of the namespace that the pod names. */
  ofNamespace: "sk-ant-inherited-0001",
};
/** The prompt's author has no secret to keep, yet what is kept or shown to others need not repeat it. */
const PROMPT = "canary-prompt-0014";

/** A text as it may stand somewhere: itself, in base64 at any offset, in a URL, in hex. */
function formsOf(canary: string): string[] {
  const base64 = [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), Buffer.from(canary)]).toString("base64");
    // What the neighbours' bits take part in is left out.
    return text.slice(offset === 0 ? 0 : offset + 1, Math.floor(((canary.length + offset) * 8) / 6) - 1);
  });
  return [canary, ...base64, encodeURIComponent(canary), Buffer.from(canary).toString("hex")];
}

function found(canaries: Readonly<Record<string, string>>, text: string): string[] {
  return Object.entries(canaries)
    .filter(([, canary]) => formsOf(canary).some((form) => text.includes(form)))
    .map(([name]) => name);
}

let directory: string;
let world: World;
let kubeconfig: string;
/** Every state of every object. */
const objects: { resource: string; text: string }[] = [];
const trace: string[] = [];
const recording = new AbortController();
let recorded: Promise<number>;
/** What the process itself printed. */
const printed: string[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "canary-"));
  world = await startWorld();
  world.k8s.addUser({ name: "canary", token: NOWHERE.kubeToken, groups: ["system:masters"] });
  world.k8s.objects.onChange(({ resource, object }) => objects.push({ resource, text: JSON.stringify(object) }));
  // The token by a plugin that has secrets of its own.
  const file = JSON.parse(await readFile(world.kubeconfig, "utf8")) as KubeConfigFile;
  const credential = {
    apiVersion: "client.authentication.k8s.io/v1",
    kind: "ExecCredential",
    status: { token: NOWHERE.kubeToken },
  };
  const exec = {
    apiVersion: "client.authentication.k8s.io/v1",
    command: "sh",
    args: [
      "-c",
      `test -e ${join(directory, "broken")} && { echo "$PLUGIN_KEY --client-secret ${NOWHERE.pluginArgument}" >&2; exit 1; }; echo '${JSON.stringify(credential)}'`,
    ],
    env: [{ name: "PLUGIN_KEY", value: NOWHERE.pluginVariable }],
  };
  for (const each of file.users) Object.assign(each, { user: { exec } });
  kubeconfig = join(directory, "kubeconfig");
  await writeFile(kubeconfig, JSON.stringify(file));
  const stdout = new Writable({
    write(chunk: Buffer, _encoding, done) {
      trace.push(chunk.toString("utf8"));
      done();
    },
  });
  const argv = ["--labels", "paperclip.io/adapter-type=claude_k8s", "-n", NAMESPACE, "--kubeconfig", world.kubeconfig];
  recorded = recordCommand.run(argv, { stdout, stderr: stdout, signal: recording.signal, answerMs: 60_000 });
  for (const stream of [process.stdout, process.stderr]) {
    const write = stream.write.bind(stream);
    vi.spyOn(stream, "write").mockImplementation((chunk, ...rest) => {
      printed.push(String(chunk));
      return (write as (chunk: unknown, ...rest: unknown[]) => boolean)(chunk, ...rest);
    });
  }
  for (const name of ["log", "info", "warn", "error", "debug"] as const) {
    vi.spyOn(console, name).mockImplementation(
      (...args) => void printed.push(args.map((arg) => inspect(arg)).join(" ")),
    );
  }
});
afterAll(async () => {
  vi.restoreAllMocks();
  recording.abort();
  await world.stop();
  await rm(directory, { recursive: true });
});

let images = 0;
beforeEach(() => {
  world.k8s.addProgram("claude", async function* () {
    yield '{"type":"system","subtype":"init","session_id":"S","model":"m"}';
    yield '{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"S"}';
    return 0;
  });
});

function start(
  agentId: string,
  more: Record<string, unknown> = {},
  overrides: Partial<AdapterExecutionContext> = {},
  options: ExecuteOptions = {},
): Recorded {
  const env = { ...world.env, ANTHROPIC_AUTH_TOKEN: NOWHERE.serverVariable, SERVER_PASSWORD: NOWHERE.serverVariable };
  const adapter = createK8sAdapter(claudeDefinition(), { env, ...options });
  return run(world, adapter, {
    config: {
      kubeconfig,
      promptTemplate: `Do it: ${PROMPT}`,
      env: {
        ANTHROPIC_API_KEY: BY_SECRET.apiKey,
        INNOCENT: BY_SECRET.boundVariable,
        DATABASE: `postgres://me:${BY_SECRET.urlPassword}@db/x`,
      },
      mcpServers: {
        tools: { type: "http", url: "http://tools", headers: { Authorization: `Bearer ${BY_SECRET.mcpHeader}` } },
        local: { command: "x", env: { KEY: BY_SECRET.mcpVariable } },
      },
      ...more,
    },
    overrides: {
      runId: `run-${agentId}`,
      agent: {
        id: agentId,
        companyId: "c",
        name: "n",
        adapterType: "claude_k8s",
        adapterConfig: { env: { INNOCENT: { type: "secret_ref" } } },
      },
      authToken: BY_SECRET.runToken,
      context: { taskId: "task-1", nested: { list: [{ accessToken: NOWHERE.contextToken }] } },
      runtimeMcp: {
        getServers: () => [{ name: "m", url: "http://m", token: BY_SECRET.mcpServer, connectionId: "c" }],
      },
      runtimeTools: { bearerToken: NOWHERE.toolsToken },
      ...overrides,
    } as unknown as Partial<AdapterExecutionContext>,
  });
}

/** What the run told the host. */
async function told(each: Recorded): Promise<{ result: AdapterExecutionResult; text: string }> {
  const result = await each.result;
  const text = JSON.stringify([each.log, each.events, result]);
  expect(found({ ...BY_SECRET, ...NOWHERE }, text + JSON.stringify(each.meta))).toEqual([]);
  // `onMeta` is given the prompt, by contract; lines, events and results do not repeat it.
  expect(found({ PROMPT }, text)).toEqual([]);
  return { result, text };
}

const silent = async () =>
  world.k8s.addProgram("claude", async function* (container) {
    yield '{"type":"system","subtype":"init","session_id":"S","model":"m"}';
    await container.sleep(3_600_000);
    return 0;
  });

test("the search finds what is there, in every form", () => {
  const canary = BY_SECRET.runToken;
  for (const before of ["", "x", "xy", "xyz"]) {
    expect(found({ canary }, Buffer.from(`${before}${canary}after`).toString("base64"))).toEqual(["canary"]);
  }
  expect(found({ canary }, `?a=${encodeURIComponent(canary)}`)).toEqual(["canary"]);
  expect(found({ canary }, Buffer.from(canary).toString("base64").slice(0, 8))).toEqual([]);
});

describe("no secret in what the host is told of a run that", () => {
  const scenarios: [string, (name: string) => Promise<{ result: AdapterExecutionResult; text: string }>, object][] = [
    ["goes well", (name) => told(start(name)), { exitCode: 0 }],
    [
      "has a prompt of 200 KiB",
      (name) => told(start(name, { promptTemplate: `${PROMPT} `.repeat(11_000) })),
      { exitCode: 0 },
    ],
    ["is kept", (name) => told(start(name, { retainJobs: true })), { exitCode: 0 }],
    [
      "fails",
      (name) => {
        world.k8s.addProgram("claude", async function* () {
          yield "something went wrong";
          return 3;
        });
        return told(start(name));
      },
      { exitCode: 3 },
    ],
    [
      "cannot pull its image",
      (name) => {
        const image = `ghcr.io/nothing:${++images}`;
        world.k8s.failImagePull(image);
        return told(start(name, { image, imagePullGraceSec: 1 }));
      },
      { errorCode: "k8s_pod_schedule_failed" },
    ],
    [
      "finds no node",
      (name) => told(start(name, { nodeSelector: "disk=none", scheduleTimeoutSec: 1 })),
      { errorCode: "k8s_pod_schedule_failed" },
    ],
    [
      "is stopped",
      async (name) => {
        await silent();
        const each = start(name);
        await each.logged('"init"');
        each.abort.abort();
        return await told(each);
      },
      { errorCode: "cancelled" },
    ],
    [
      "is taken over from a process that died",
      async (name) => {
        const adopted = Promise.withResolvers<void>();
        world.k8s.addProgram("claude", async function* () {
          yield '{"type":"system","subtype":"init","session_id":"S","model":"m"}';
          await adopted.promise;
          yield '{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"S"}';
          return 0;
        });
        const left = start(name);
        await left.logged('"init"');
        await crash(left);
        await told(left);
        const adopter = start(name, {}, { runId: "the-adopter" });
        await expect.poll(() => adopter.events.map(({ eventType }) => eventType)).toContain("k8s.job_adopted");
        adopted.resolve();
        const all = await told(adopter);
        return all;
      },
      { exitCode: 0 },
    ],
    [
      "takes too long",
      async (name) => {
        await silent();
        return await told(start(name, { timeoutSec: 1, graceSec: 1 }));
      },
      { timedOut: true },
    ],
    [
      "is deleted",
      async (name) => {
        await silent();
        const each = start(name);
        await each.logged('"init"');
        const job = world.k8s.objects
          .list("jobs", NAMESPACE)
          .find(({ metadata }) => metadata.labels?.["paperclip.io/agent-id"] === name);
        world.k8s.objects.delete("jobs", NAMESPACE, job?.metadata.name ?? "");
        return await told(each);
      },
      { errorCode: "k8s_job_deleted_externally" },
    ],
    [
      "is configured wrongly",
      (name) => told(start(name, { tolerations: BY_SECRET.apiKey.slice(0, 3) })),
      { errorCode: "k8s_config_invalid" },
    ],
    [
      "has MCP servers that are none",
      (name) => told(start(name, { mcpServers: `{"a": "${BY_SECRET.mcpHeader}"` })),
      { errorCode: "k8s_config_invalid" },
    ],
    [
      "has a variable that is too large",
      (name) => told(start(name, { env: { API_KEY: `${BY_SECRET.apiKey}`.repeat(9_000) } })),
      { errorCode: "k8s_config_invalid" },
    ],
  ];

  test.each(scenarios)("%s", async (what, scenario, expected) => {
    const { result } = await scenario(what.replaceAll(/\W+/g, "-"));
    expect(result).toMatchObject(expected);
  });

  test.each(["jobs", "secrets"])("is refused its %s by a policy that quotes both", async (resource) => {
    const quoted = objects.filter((each) => each.resource === "secrets").map(({ text }) => text);
    const [secret] = quoted.filter((text) => text.includes("mcp.json"));
    const { data } = JSON.parse(secret ?? "{}") as { data: Record<string, string> };
    const plain = Object.values(data).map((value) => Buffer.from(value, "base64").toString("utf8"));
    expect(found(BY_SECRET, JSON.stringify([data, plain]))).toEqual(Object.keys(BY_SECRET));
    for (const quote of [...Object.values(data), ...plain]) {
      // What is longer is cut, so that each is quoted at the beginning once.
      const message = `denied: ${quote} ${JSON.stringify(quote)}`;
      const body = JSON.stringify({ kind: "Status", status: "Failure", code: 403, reason: "Forbidden", message });
      const fault = world.k8s.faults.errorRate({
        status: 403,
        contentType: "application/json",
        body,
        match: { verb: "create", resource },
      });
      const { result } = await told(start(`refused-${resource}`));
      fault.remove();
      expect(result.errorCode).toMatch(/^k8s_(job_create|prompt_secret_create)_failed$/);
    }
  });

  test("cannot log in, and its plugin says why", async () => {
    const { stopSharedEngines } = await import("../../../src/engine/index.ts");
    await stopSharedEngines();
    await writeFile(join(directory, "broken"), "");
    // Its words have to come in that time, also on a slow machine.
    const { result, text } = await told(start("no-login", {}, {}, { connectTimeoutMs: 5_000 }));
    await rm(join(directory, "broken"));
    expect(result.errorCode).toBe("k8s_api_unreachable");
    expect(text).toContain("--client-secret [redacted]");
  });

  test("is looked at by the environment test", async () => {
    const adapter = createK8sAdapter(claudeDefinition(), { env: world.env });
    const config = { kubeconfig, env: { ANTHROPIC_API_KEY: BY_SECRET.apiKey }, secretRef: "keys" };
    const { checks } = await adapter.testEnvironment({ companyId: "c", adapterType: "claude_k8s", config });
    expect(checks.length).toBeGreaterThan(5);
    expect(found({ ...BY_SECRET, ...NOWHERE }, JSON.stringify(checks))).toEqual([]);
  });
});

describe("of all these runs", () => {
  /** Not the server's own pod and what was there before. */
  const isOurs = ({ resource, text }: { resource: string; text: string }) =>
    resource === "events" || text.includes("claude_k8s");

  test("every secret went by the run's Secret, and stands in no other object of the cluster, in no annotation, no label", () => {
    const inSecrets = objects.filter(({ resource, text }) => resource === "secrets" && isOurs({ resource, text }));
    expect(found(BY_SECRET, inSecrets.map(({ text }) => text).join("\n"))).toEqual(Object.keys(BY_SECRET));
    expect(
      found(
        NOWHERE,
        inSecrets
          .filter(({ text }) => text.includes("-prompt"))
          .map(({ text }) => text)
          .join("\n"),
      ),
    ).toEqual([]);
    const others = objects.filter(({ resource, text }) => resource !== "secrets" && isOurs({ resource, text }));
    for (const resource of ["jobs", "pods", "events"])
      expect(others.some((each) => each.resource === resource)).toBe(true);
    for (const { resource, text } of others)
      expect({ resource, found: found({ ...BY_SECRET, ...NOWHERE }, text) }).toEqual({ resource, found: [] });
  });

  test("the prompt stands in no Job, pod or event", () => {
    const others = objects.filter(({ resource, text }) => resource !== "secrets" && isOurs({ resource, text }));
    for (const { text } of others) expect(found({ PROMPT }, text)).toEqual([]);
  });

  test("a recording has neither secret nor prompt", async () => {
    recording.abort();
    expect(await recorded).toBe(0);
    const frames = trace.join("").trim().split("\n");
    expect(frames.length).toBeGreaterThan(50);
    for (const frame of frames) expect(found({ ...BY_SECRET, ...NOWHERE, PROMPT }, frame)).toEqual([]);
    // It is of these runs.
    expect(trace.join("")).toContain("/tmp/prompt");
  });

  test("the process printed nothing of it", () => {
    expect(found({ ...BY_SECRET, ...NOWHERE, PROMPT }, printed.join("\n"))).toEqual([]);
  });
});

test("nor has an error or a statistic of the engine", async () => {
  const search = (what: string, text: string) => expect(found({ ...BY_SECRET, ...NOWHERE }, text), what).toEqual([]);
  const kubeConfig = loadKubeConfig(await world.kubeconfigFor(NOWHERE.kubeToken));
  const cluster = new Cluster({ kubeConfig });
  const fault = world.k8s.faults.errorRate({ status: 500, match: { verb: "get", resource: "jobs" } });
  const error = await cluster
    .json({ path: `/apis/batch/v1/namespaces/${NAMESPACE}/jobs/x` })
    .catch((reason: unknown) => reason);
  fault.remove();
  expect(error).toBeInstanceOf(ApiError);
  search("an error", JSON.stringify(error) + inspect(error, { depth: 9, showHidden: true }) + (error as Error).stack);
  search("the request counts", JSON.stringify(cluster.requests.snapshot()));
  await cluster.close();
  const { engine, release } = await leaseEngine({ kubeConfig, namespace: NAMESPACE, labels: { "a/b": "c" } });
  search("the engine's statistics", JSON.stringify(engine.stats()));
  release();
  // A token that the server does not take is not repeated in what it is told.
  world.k8s.authorization.expireToken(NOWHERE.kubeToken);
  const refused = new Cluster({ kubeConfig });
  const unauthorized = await refused.json({ path: "/api/v1/pods" }).catch((reason: unknown) => reason);
  await refused.close();
  expect(unauthorized).toBeInstanceOf(ApiError);
  search("a 401", JSON.stringify(unauthorized) + inspect(unauthorized, { depth: 9 }));
});
