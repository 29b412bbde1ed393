import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ScriptedProgram } from "../../../src/embedded/kubelet/programs.ts";
import { adapterOf, NAMESPACE, type Recorded, restart, run, startWorld, type World, withSlowWorld } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.stop());

/** Lines, then done. */
function says(lines: readonly string[], exitCode = 0): ScriptedProgram {
  return async function* () {
    yield* lines;
    yield '{"done":true,"ok":true}';
    return exitCode;
  };
}

const jobs = (agentId: string) =>
  world.k8s.objects
    .list("jobs", NAMESPACE)
    .filter(({ metadata }) => metadata.labels?.["paperclip.io/agent-id"] === agentId);
const secrets = (jobName: string) =>
  world.k8s.objects.list("secrets", NAMESPACE).filter(({ metadata }) => metadata.name === `${jobName}-prompt`);

describe("a run that goes well", () => {
  test("gives every line once, the result, and leaves nothing behind", async () => {
    const { adapter, outcomes } = adapterOf(world);
    const each = run(world, adapter, { agentId: "well", sessionId: "S-old" });
    const result = await each.result;
    expect(result).toMatchObject({
      exitCode: 0,
      timedOut: false,
      sessionId: "S-new",
      costUsd: 0.5,
      usageBasis: "per_run",
      summary: "Done.",
    });
    expect(result.errorMessage).toBeUndefined();
    expect(result).not.toHaveProperty("executionRecovery");
    expect(each.output()).toEqual(['{"session":"S-new"}', '{"text":"hello"}', '{"done":true,"ok":true}']);
    expect(each.calls).toEqual(["ready", "meta", "dispatch"]);
    expect(outcomes).toMatchObject([
      { kind: "ended", adopted: false, sessionId: "S-old", carry: { note: "carried" }, lines: 3, gaps: [] },
    ]);
    expect(jobs("well")).toEqual([]);
    const jobName = outcomes[0]?.jobName ?? "";
    await world.k8s.objects.until(() => secrets(jobName).length === 0);
  });

  test("says two lines of its own where nothing holds it up", async () => {
    const { adapter } = adapterOf(world);
    const startedAt = performance.now();
    const each = run(world, adapter, { agentId: "brief" });
    await each.result;
    const notes = each.notes().map((note) => note.trimEnd());
    expect(notes[0]).toMatch(/^\[paperclip\] Created Job paperclip\/ac-brief-\S+ \(image \S+, deadline none\)$/);
    expect(notes.at(-1)).toMatch(/^\[paperclip\] pod …\w{5}: agent is running on embedded-node$/);
    // Where the machine is slow a state on the way may stand for two seconds.
    expect(notes.length).toBeLessThanOrEqual(2 + (performance.now() - startedAt) / 2_000);
  });

  test.each([
    [
      "an API URL that in the pod is the pod",
      { config: { env: { PAPERCLIP_API_URL: "http://localhost:3100" } } },
      /which in a pod is the pod itself.*Set PAPERCLIP_API_URL in the server's Deployment/,
    ],
    [
      "a workspace that is on no volume of the pod",
      { overrides: { context: { taskId: "t", paperclipWorkspace: { cwd: "/srv/ws" } } } },
      /working directory \/srv\/ws is on no volume of the pod.*workspaceVolumeClaim/,
    ],
  ])("warns of %s, with what to set", async (_, options, expected) => {
    const { adapter } = adapterOf(world);
    const each = run(world, adapter, options);
    await each.result;
    expect(each.log.filter(({ stream, chunk }) => stream === "stderr" && expected.test(chunk))).toHaveLength(1);
  });

  test("costs one list, one create, one log, one delete and the Secret's create, however long it takes", async () => {
    await withSlowWorld(async (slow) => {
      const { adapter } = adapterOf(slow);
      await run(slow, adapter).result;
      slow.agents.set("counted", async function* (container) {
        for (let i = 0; i < 40; i += 1) {
          yield `{"n":${i}}`;
          await container.sleep(25);
        }
        yield '{"done":true,"ok":true}';
      });
      slow.k8s.requests.reset();
      await run(slow, adapter, { agentId: "counted" }).result;
      // The Lease is the process's, and renewed whatever the number of runs.
      const { "patch leases": _, ...ofTheRun } = slow.k8s.requests.byVerb;
      expect(ofTheRun).toEqual({
        "create jobs": 1,
        "create secrets": 1,
        "delete jobs": 1,
        "get pods/log": 1,
        "list jobs": 1,
      });
    });
  });

  test("the agent finds prompt, files, environment and working directory as they were meant", async () => {
    let seen: Record<string, unknown> = {};
    world.agents.set("looks", async function* ({ env, files, workingDir, command }) {
      seen = {
        env,
        prompt: files.readText("/tmp/prompt/prompt.txt"),
        mcp: files.readText("/tmp/prompt/mcp.json"),
        workingDir,
        command,
      };
      yield '{"done":true,"ok":true}';
    });
    const prompt = "Pay $5 to $(HOME), $$ and 'quotes' \"too\" \\c ü 😀";
    const { adapter } = adapterOf(world, {
      prepared: { prompt, files: [{ name: "mcp.json", content: "{}" }], command: ["sh", "-c", "agent '$(id)' $$"] },
    });
    const config = { env: { GREETING: "$(HOME) costs $$5", GITHUB_TOKEN: "ghp_canary-0002" } };
    await run(world, adapter, {
      agentId: "looks",
      config,
      overrides: { context: { taskId: "t", paperclipWorkspace: { cwd: "/paperclip/ws" } } },
    }).result;
    expect(seen).toMatchObject({
      prompt,
      mcp: "{}",
      workingDir: "/paperclip/ws",
      command: ["sh", "-c", "agent '$(id)' $$"],
      env: {
        GREETING: "$(HOME) costs $$5",
        GITHUB_TOKEN: "ghp_canary-0002",
        PAPERCLIP_API_KEY: "run-jwt-canary-0001",
        PAPERCLIP_API_URL: "http://paperclip.paperclip.svc:3100",
        ANTHROPIC_API_KEY: "sk-ant-inherited-0001",
        SHARED_FROM: "envFrom",
        HOME: "/paperclip",
      },
    });
  });

  test.each([
    ["127 KiB, just below what Linux takes", "x".repeat(127 * 1024)],
    ["129 KiB", "x".repeat(129 * 1024)],
    ["300 KiB of UTF-8", "ü😀".repeat(50 * 1024)],
  ])("a prompt of %s arrives whole", async (_, prompt) => {
    world.agents.set("reads", async function* ({ files }) {
      yield JSON.stringify({
        hash: createHash("sha256").update(files.readText("/tmp/prompt/prompt.txt")).digest("hex"),
      });
      yield '{"done":true,"ok":true}';
    });
    const { adapter } = adapterOf(world, { prepared: { prompt } });
    const each = run(world, adapter, { agentId: "reads" });
    expect(await each.result).toMatchObject({ exitCode: 0 });
    expect(each.output()[0]).toContain(createHash("sha256").update(prompt).digest("hex"));
  });

  test("a line of 200 000 characters reaches the host in pieces it does not cut, and the parser whole", async () => {
    const long = JSON.stringify({ text: "😀".repeat(100_000) });
    world.agents.set("long", says([long]));
    const { adapter, outcomes } = adapterOf(world);
    const each = run(world, adapter, { agentId: "long" });
    await each.result;
    expect(each.log.every(({ chunk }) => chunk.length <= 65_536 && chunk.isWellFormed())).toBe(true);
    expect(each.output()[0]).toBe(long);
    expect(outcomes[0]?.verdict.lines[0]).toBe(long);
  });

  test("what the parser takes for progress reaches the host as an event", async () => {
    world.agents.set("progress", says(['{"progress":"retrying in 3 s"}']));
    const { adapter } = adapterOf(world);
    const each = run(world, adapter, { agentId: "progress" });
    await each.result;
    expect(each.events).toContainEqual(
      expect.objectContaining({ eventType: "agent.progress", message: "retrying in 3 s" }),
    );
    expect(each.events.map(({ eventType }) => eventType)).toEqual([
      "k8s.job_created",
      "k8s.pod_running",
      "agent.progress",
    ]);
  });

  test("a sidecar that lives on does not hold it up", async () => {
    world.k8s.addProgram("mesh", async (container) => {
      await container.sleep(10 * 60_000, { interruptible: true }).catch(() => undefined);
      return 0;
    });
    let containers = 0;
    const stop = world.k8s.objects.onChange(({ type, resource, object }) => {
      if (type !== "ADDED" || object.metadata.labels?.["paperclip.io/agent-id"] !== "meshed") return;
      if (resource === "pods") containers = (object.spec as { containers: unknown[] }).containers.length;
      if (resource !== "jobs") return;
      // As a mesh's admission webhook would.
      queueMicrotask(() =>
        world.k8s.objects.update("jobs", NAMESPACE, object.metadata.name, (draft) => {
          const spec = draft.spec as { template: { spec: { containers: unknown[] } } };
          spec.template.spec.containers.push({ name: "mesh", image: "mesh:1" });
        }),
      );
    });
    const { adapter } = adapterOf(world);
    expect(await run(world, adapter, { agentId: "meshed" }).result).toMatchObject({ exitCode: 0 });
    expect(containers).toBe(2);
    stop();
  });
});

describe("a host that is slow or fails in its callbacks", () => {
  const lines = Array.from({ length: 200 }, (_, i) => `{"n":${i}}`);

  test("slow onLog: every line, in order, the result after the last", async () => {
    world.agents.set("slow", says(lines));
    const { adapter } = adapterOf(world);
    let taken = 0;
    const each = run(world, adapter, {
      agentId: "slow",
      onLog: async () => {
        await new Promise((resolve) => setTimeout(resolve, 30));
        taken += 1;
      },
    });
    expect(await each.result).toMatchObject({ exitCode: 0 });
    expect(each.output().slice(0, -1)).toEqual(lines);
    expect(taken).toBe(each.log.length);
  });

  test("rejecting onLog: the run and its result do not suffer", async () => {
    world.agents.set("rejected", says(lines));
    const { adapter, outcomes } = adapterOf(world);
    const each = run(world, adapter, { agentId: "rejected", onLog: () => Promise.reject(new Error("disk full")) });
    expect(await each.result).toMatchObject({ exitCode: 0, summary: "Done." });
    expect(outcomes[0]?.lines).toBe(201);
    expect(jobs("rejected")).toEqual([]);
  });

  test("everything else throws: still a result", async () => {
    const { adapter } = adapterOf(world);
    const fail = () => {
      throw new Error("host");
    };
    const each = run(world, adapter, { overrides: { onMeta: fail, onEvent: fail, onDispatch: fail } });
    expect(await each.result).toMatchObject({ exitCode: 0 });
  });

  test("an old host without the new callbacks", async () => {
    const { adapter } = adapterOf(world);
    const each = run(world, adapter);
    await each.result;
    const { signal: _, onCancellationReady: __, onDispatch: ___, onEvent: ____, onMeta: _____, ...old } = each.ctx;
    expect(await adapter.execute({ ...old, runId: "old-host-run" })).toMatchObject({ exitCode: 0 });
  });
});

/** Prints a line, and no other until what is returned is called. */
function silentAgent({ agents }: World, agentId: string): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  agents.set(agentId, async function* () {
    yield '{"n":0}';
    await promise;
    yield '{"done":true,"ok":true}';
  });
  return resolve;
}

describe("while the connection suffers", () => {
  const lines = Array.from({ length: 60 }, (_, i) => `{"n":${i}}`);
  test.each<[string, (w: World) => unknown]>([
    [
      "watches cut and their versions expired",
      ({ k8s }) => {
        k8s.faults.expireVersions();
        k8s.faults.cutWatches({ how: "reset" });
      },
    ],
    ["connections reset", ({ k8s }) => k8s.faults.resetConnections()],
    ["followed logs cut", ({ k8s }) => k8s.faults.cutOpenLogs({ how: "reset" })],
    ["the API server restarted", ({ k8s }) => k8s.restart({ downMs: 2_000, expireVersions: true })],
  ])("%s: every line once, the result right", async (name, fault) => {
    const agentId = name.replaceAll(" ", "-");
    const { promise: mayEnd, resolve: end } = Promise.withResolvers<void>();
    world.agents.set(agentId, async function* (container) {
      for (const line of lines) {
        yield line;
        await container.sleep(500);
      }
      await mayEnd;
      yield '{"done":true,"ok":true}';
    });
    const { adapter } = adapterOf(world);
    const each = run(world, adapter, { agentId });
    for (const n of [10, 30]) {
      await each.logged(`{"n":${n}}`);
      // A watch is opened again a second after the last time: what is not open cannot be cut.
      await expect.poll(() => world.k8s.openWatches).toBeGreaterThanOrEqual(2);
      await fault(world);
    }
    end();
    expect(await each.result).toMatchObject({ exitCode: 0 });
    expect(each.output().slice(0, -1)).toEqual(lines);
  });

  test("a keepalive line after silence, not while there is output, not after the end", async () => {
    const speaks = silentAgent(world, "silent");
    const { adapter } = adapterOf(world);
    const ofLife = ({ notes }: Recorded) => notes().filter((note) => note.includes("is alive (no output for")).length;
    const silentAt = performance.now();
    const each = run(world, adapter, { agentId: "silent", config: { keepaliveSec: 1 } });
    await each.logged("is alive (no output for");
    speaks();
    await each.result;
    expect(ofLife(each)).toBeLessThanOrEqual((performance.now() - silentAt) / 1_000);
    const quickAt = performance.now();
    const quick = run(world, adapter, { config: { keepaliveSec: 10 } });
    await quick.result;
    expect(ofLife(quick)).toBeLessThanOrEqual(Math.floor((performance.now() - quickAt) / 10_000));
  });

  test("and while the watch is down it says since when nothing is known", async () => {
    const other = await startWorld();
    try {
      const speaks = silentAgent(other, "unknown");
      const { adapter } = adapterOf(other);
      const each = run(other, adapter, { agentId: "unknown", config: { keepaliveSec: 1 } });
      await each.logged('{"n":0}');
      const server = restart(other);
      await each.logged(/unknown state since 20\d\d-.*the connection to the API server is down/);
      speaks();
      await server.comesBack();
      expect(await each.result).toMatchObject({ exitCode: 0 });
    } finally {
      await other.stop();
    }
  });

  test("and while the watch is refused it says by what right", async () => {
    const other = await startWorld();
    try {
      const speaks = silentAgent(other, "refused");
      const { adapter } = adapterOf(other);
      const each = run(other, adapter, { agentId: "refused", config: { keepaliveSec: 1 } });
      await each.logged('{"n":0}');
      const message = 'pods is forbidden: User "agents" cannot watch resource "pods"';
      const refused = other.k8s.faults.errorRate({
        status: 403,
        reason: "Forbidden",
        message,
        match: { verb: "watch" },
      });
      expect(other.k8s.faults.cutWatches()).toBeGreaterThan(0);
      await each.logged(/unknown state since 20\d\d-.*403 Forbidden: pods is forbidden.*cannot watch.*trying again/);
      refused.remove();
      speaks();
      expect(await each.result).toMatchObject({ exitCode: 0 });
    } finally {
      await other.stop();
    }
  });
});

describe("secrets", () => {
  test("appear in nothing that the adapter writes but the run's Secret", async () => {
    const canaries = [
      "run-jwt-canary-0001",
      "ghp_canary-0002",
      "bound-canary-0003",
      "mcp-canary-0004",
      "tools-canary-0005",
      "url-canary-0006",
      "definition-canary-0007",
    ];
    const seen: string[] = [];
    const stop = world.k8s.objects.onChange(({ resource, object }) => {
      if (resource === "jobs" || resource === "pods" || resource === "events") seen.push(JSON.stringify(object));
    });
    const tools = {
      version: 1,
      guidance: "",
      mcpEndpoint: "http://x",
      rest: { connectionsSearch: "", connectionRequest: "" },
      bearerToken: "tools-canary-0005",
      expiresAt: "",
      tools: ["connections_search", "connection_request"],
    } as const;
    const base = {
      id: "canary",
      companyId: "c",
      name: "n",
      adapterType: "test_k8s",
      adapterConfig: { env: { INNOCENT: { type: "secret_ref" } } },
    };
    const overrides = {
      agent: base,
      runtimeTools: tools,
      runtimeMcp: { getServers: () => [{ name: "m", url: "http://m", token: "mcp-canary-0004", connectionId: "c" }] },
      context: { taskId: "t", paperclipRuntimeTools: tools, note: "the key is bound-canary-0003" },
    };
    const config = {
      env: { GITHUB_TOKEN: "ghp_canary-0002", INNOCENT: "bound-canary-0003", PROXY: "http://me:url-canary-0006@proxy" },
    };
    const prepared = {
      env: { MCP_AUTH_VALUE: "definition-canary-0007" },
      secretEnv: ["MCP_AUTH_VALUE"],
      files: [{ name: "mcp.json", content: "mcp-canary-0004" }],
      notices: [{ stream: "stderr" as const, text: "the definition says mcp-canary-0004" }],
      commandNotes: ["a note with ghp_canary-0002"],
    };
    const { adapter } = adapterOf(world, { prepared });
    world.agents.set("canary", async function* ({ env }) {
      yield JSON.stringify({ names: Object.keys(env).length });
      yield '{"done":true,"ok":true}';
    });
    const good = run(world, adapter, { overrides, config });
    await good.result;
    // And a start that fails in the server's own words, which may quote what they got.
    world.k8s.failImagePull("ghcr.io/nothing:1", { message: "denied for mcp-canary-0004" });
    const bad = run(world, adapter, {
      overrides: { ...overrides, runId: "canary-2" },
      config: { ...config, image: "ghcr.io/nothing:1", imagePullGraceSec: 1 },
    });
    const failed = await bad.result;
    expect(failed.errorCode).toBe("k8s_pod_schedule_failed");
    stop();
    const written = JSON.stringify([
      good.log,
      good.meta,
      good.events,
      await good.result,
      bad.log,
      bad.meta,
      bad.events,
      failed,
    ]);
    for (const canary of canaries) {
      expect(written, canary).not.toContain(canary);
      // The runtime's own message about the image is no word of ours.
      for (const object of seen.filter((text) => !text.includes("denied for")))
        expect(object.includes(canary), canary).toBe(false);
    }
    expect(good.meta).toHaveLength(1);
  });
});
