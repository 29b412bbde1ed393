/** Answers that are none of Kubernetes': `execute` gives a result with a code, nothing is thrown, nothing stays created half. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stopSharedEngines } from "../../../src/engine/index.ts";
import { adapterOf, NAMESPACE, run, startWorld, type World } from "../adapter/world.ts";
import { startApiServer } from "../transport/api-server.ts";

const HTML = "<!doctype html><html><body><h1>Sign in</h1></body></html>";
const job = { apiVersion: "batch/v1", kind: "Job", metadata: { name: "x", namespace: NAMESPACE } };

interface Garbage {
  status?: number;
  type?: string;
  body: string | Buffer;
}

const GARBAGE: [string, Garbage][] = [
  ["a proxy's login page", { type: "text/html", body: HTML }],
  ["a proxy's error page", { status: 502, type: "text/html", body: HTML }],
  ["a redirect", { status: 302, type: "text/html", body: HTML }],
  ["no body", { body: "" }],
  ["JSON that is cut", { body: '{"kind":"JobList","items":[{"metadata":{"na' }],
  ["null", { body: "null" }],
  ["a number", { body: "5" }],
  ["an array", { body: "[]" }],
  ["another kind", { body: JSON.stringify({ kind: "Widget", apiVersion: "v9", spec: 5 }) }],
  [
    "objects without metadata",
    { body: JSON.stringify({ kind: "JobList", metadata: {}, items: [{}, null, 5, { metadata: null }] }) },
  ],
  ["events without an object", { body: '{"type":"ADDED"}\n{"type":"ADDED","object":null}\n{"type":5}\n"x"\n' }],
  ["events of another kind", { body: `${JSON.stringify({ type: "WEIRD", object: job })}\n` }],
  ["a Status that says success", { body: JSON.stringify({ kind: "Status", status: "Success" }) }],
  [
    "a Status with wrong types",
    { status: 403, body: JSON.stringify({ kind: "Status", code: "x", message: 5, reason: {}, details: [] }) },
  ],
  [
    "__proto__",
    {
      body: '{"__proto__":{"polluted":1},"items":[{"__proto__":{"polluted":1}}],"metadata":{"__proto__":{"polluted":1}}}',
    },
  ],
  ["bytes that are no UTF-8", { body: Buffer.from([0xff, 0xfe, 0x00, 0x0a, 0xc3, 0x28, 0x0a]) }],
  ["20 MB without a newline", { body: Buffer.alloc(20 * 2 ** 20, 0x20) }],
  ["10 000 levels deep", { body: `${"[".repeat(10_000)}${"]".repeat(10_000)}` }],
  ["a status that does not exist", { status: 599, body: "x" }],
];

describe("a server that answers everything with", () => {
  test.concurrent.each(GARBAGE)("%s", async (_, { status = 200, type = "application/json", body }) => {
    const server = await startApiServer((_request, response) => {
      response.writeHead(status, { "content-type": type });
      response.end(body);
    });
    const directory = await mkdtemp(join(tmpdir(), "garbage-"));
    try {
      const kubeconfig = join(directory, "kubeconfig");
      await writeFile(kubeconfig, server.kubeConfig().exportConfig());
      const env = {};
      const { adapter } = adapterOf({ env });
      const each = run({ kubeconfig, env } as unknown as World, adapter, {
        config: { image: "i:1", namespace: NAMESPACE },
      });
      const result = await each.result;
      expect(result.errorCode).toMatch(/^k8s_/);
      expect(result.executionRecovery).toEqual({ kind: "bootstrap", providerWorkStarted: false });
      expect(result.errorMessage?.length).toBeLessThan(5_000);
      expect("polluted" in {}).toBe(false);
    } finally {
      await server.close();
      await rm(directory, { recursive: true });
    }
  });
});

describe("one kind of request is answered wrongly", () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld();
  });
  afterAll(() => world.stop());

  const requests: [string, { verb: string; resource: string }][] = [
    ["the list before the start", { verb: "list", resource: "jobs" }],
    ["the Job's create", { verb: "create", resource: "jobs" }],
    ["the Secret's create", { verb: "create", resource: "secrets" }],
    ["the log", { verb: "get", resource: "pods/log" }],
    ["the Job's delete", { verb: "delete", resource: "jobs" }],
    ["watches", { verb: "watch", resource: "pods" }],
  ];
  const bodies = [
    "",
    HTML,
    "null",
    "[]",
    '{"kind":"Job"}',
    '{"kind":"Job","metadata":{"name":5,"uid":null}}',
    '{"items":{}}',
    "{",
  ];
  const cases = requests.flatMap(([what, match]) => bodies.map((body) => [what, body, match] as const));

  test.each(cases)("%s: %j", async (_, body, match) => {
    const { k8s } = world;
    // Of an engine that has not met such answers before: each more makes it wait longer.
    if (match.verb === "watch") await stopSharedEngines();
    if (match.verb === "watch") await run(world, adapterOf(world).adapter).result;
    const fault = k8s.faults.errorRate({ status: 200, contentType: "application/json", body, match, count: 2 });
    if (match.verb === "watch") k8s.faults.cutWatches({ how: "reset", match });
    const each = run(world, adapterOf(world).adapter, {
      config: { env: { GITHUB_TOKEN: "ghp_hostile-0001" }, configErrorGraceSec: 1, ttlSecondsAfterFinished: 20 },
    });
    const result = await each.result;
    fault.remove();
    expect(fault.hits).toBeGreaterThan(0);
    // Well, or with a code that says why.
    if ((result.exitCode ?? -1) !== 0) expect(typeof result.errorCode).toBe("string");
    const left = () =>
      (["jobs", "secrets"] as const).flatMap((resource) =>
        k8s.objects
          .list(resource, NAMESPACE)
          .filter(
            ({ metadata }) =>
              metadata.labels?.["paperclip.io/agent-id"] === each.ctx.agent.id ||
              metadata.labels?.["paperclip.io/run-id"] === each.ctx.runId,
          ),
      );
    // A Job whose delete was answered with nonsense, or whose log could not be read, is kept, and the log says so.
    if (/is kept|Cleaning up .* failed/.test(each.notes().join("\n"))) {
      for (const { metadata } of left()) k8s.objects.delete("jobs", NAMESPACE, metadata.name);
    }
    await k8s.objects.until(() => left().length === 0, AbortSignal.timeout(90_000));
  });
});
