import { randomBytes } from "node:crypto";
import { expect, vi } from "vitest";
import { execute } from "./support/adapter.ts";
import { CONTAINER, sidecarWithMemory, tenMegabytes } from "./support/jobs.ts";
import { sha256 } from "./support/lines.ts";
import { type Scene, Suite } from "./support/suite.ts";

/** The same cases through the adapter: what Paperclip gets of a run, whatever becomes of it. */
const suite = new Suite();

suite.case("success: the result, the session, the usage; every line once; nothing is left", async (scene) => {
  const run = execute(scene, { script: "init; lines 20 0.01; result" });
  const result = await run.result;
  expect(result).toMatchObject({ exitCode: 0, timedOut: false, sessionId: "5e551011-0000-4000-8000-000000000000" });
  expect(result.errorMessage ?? null).toBeNull();
  expect(result.usage).toMatchObject({ inputTokens: 100, cachedInputTokens: 50, outputTokens: 200 });
  expect(result.costUsd).toBe(0.25);
  run.lines.expectExactlyOnce(22);
  await expectNothingLeft(scene, await run.job);
});

suite.case("the prompt arrives as it was written, whatever it holds", async (scene) => {
  const prompt = `$HOME $(HOME) $$(HOME) \`id\` "quoted" 'single' \\n \\c %s naïve 東京 🚀\n\ttab\n`;
  const run = execute(scene, { script: "init; result", prompt });
  expect(await run.result).toMatchObject({ exitCode: 0 });
  expectPrompt(run);
});

suite.case("exit ≠ 0 without a result: the exit code, and that the agent had begun", async (scene) => {
  const run = execute(scene, { script: "init; lines 5; exit 3" });
  const result = await run.result;
  expect(result).toMatchObject({ exitCode: 3, timedOut: false });
  expect(result.errorMessage).toBeTruthy();
  expect(result.executionRecovery).toBeUndefined();
  run.lines.expectExactlyOnce(6);
});

suite.case(
  "a result that is an error: the API's own words, and a family that lets the host try again",
  async (scene) => {
    const run = execute(scene, { script: "init; lines 2; result error; exit 1" });
    const result = await run.result;
    expect(result).toMatchObject({ exitCode: 1, errorFamily: "transient_upstream" });
    expect(result.errorMessage).toContain("529");
    run.lines.expectExactlyOnce(4);
  },
);

suite.case("fails at once: what it said on stderr is in the message", async (scene) => {
  const run = execute(scene, { script: "stderr claude: cannot start; exit 1" });
  const result = await run.result;
  expect(result).toMatchObject({ exitCode: 1 });
  expect(result.errorMessage).toContain("claude: cannot start");
});

suite.case("missing image: a start failure that may be tried again, with the cluster's events", async (scene) => {
  const run = execute(scene, {
    script: "init; result",
    config: { image: scene.context.missingImage, imagePullGraceSec: 1 },
  });
  const result = await run.result;
  expect(result).toMatchObject({ exitCode: null, executionRecovery: { kind: "bootstrap" } });
  expect(result.errorMessage).toMatch(/ErrImagePull|ImagePullBackOff/);
  expect(run.lines.received).toEqual([]);
  await expectNothingLeft(scene, await run.job);
});

suite.case("bad configuration of the agent: refused before anything is created", async (scene) => {
  const run = execute(scene, { script: "init", config: { timeoutSec: "soon" } });
  const result = await run.result;
  expect(result).toMatchObject({ errorCode: "k8s_config_invalid", executionRecovery: { kind: "bootstrap" } });
  expect(result.errorMessage).toContain("timeoutSec");
  await expect(run.job).rejects.toThrow();
});

suite.case("unschedulable: a start failure in the scheduler's words", async (scene) => {
  const run = execute(scene, {
    script: "init; result",
    config: { nodeSelector: { "k8s-run-informer/e2e-node": "nowhere" }, scheduleTimeoutSec: 1 },
  });
  const result = await run.result;
  expect(result).toMatchObject({ exitCode: null, executionRecovery: { kind: "bootstrap" } });
  expect(result.errorMessage).toContain("nodes are available");
  await expectNothingLeft(scene, await run.job);
});

suite.case("deadline: timed out, with every line up to the kill", async (scene) => {
  const run = execute(scene, {
    script: "init; term words; lines 20; until-term",
    config: { timeoutSec: 3_600 },
  });
  await run.lines.atLeast(21, scene.signal);
  await scene.expire(await run.job);
  expect(await run.result).toMatchObject({ timedOut: true, errorCode: "timeout" });
  run.lines.expectExactlyOnce(22);
  expect(run.lines.texts.at(-1)).toBe("last words");
  await expectNothingLeft(scene, await run.job);
});

suite.case("cancel: acknowledged only when Job and pod are gone, with the last words", async (scene) => {
  const stop = new AbortController();
  const run = execute(scene, { script: "init; lines 5; term words; until-term", signal: stop.signal });
  await run.lines.atLeast(6, scene.signal);
  stop.abort(new Error("Stopped by a person"));
  const result = await run.result;
  expect(result).toMatchObject({ errorCode: "cancelled" });
  expect(result.resultJson).toMatchObject({ executionCancellation: { state: "acknowledged" } });
  run.lines.expectExactlyOnce(7);
  await expectNothingLeft(scene, await run.job);
});

suite.case("cancel of an agent that ignores SIGTERM: gone within the pod's grace all the same", async (scene) => {
  const stop = new AbortController();
  const run = execute(scene, { script: "term ignore; init; lines 5; until-term", signal: stop.signal });
  await run.lines.atLeast(6, scene.signal);
  stop.abort(new Error("Stopped by a person"));
  const result = await run.result;
  expect(result.resultJson).toMatchObject({ executionCancellation: { state: "acknowledged" } });
  await expectNothingLeft(scene, await run.job);
});

for (const [what, remove] of [
  ["Job deleted", (scene: Scene, job: string) => scene.remove("batch", "jobs", job)],
  ["pod deleted", async (scene: Scene, job: string) => scene.remove("", "pods", await podOf(scene, job))],
  ["pod evicted", async (scene: Scene, job: string) => evict(scene, await podOf(scene, job))],
] as const) {
  suite.case(
    `${what} under a running agent: a failure after it had begun, every line up to the kill`,
    async (scene) => {
      const run = execute(scene, { script: "init; lines 5; term words; until-term" });
      await run.lines.atLeast(6, scene.signal);
      await remove(scene, await run.job);
      const result = await run.result;
      expect(result.exitCode).not.toBe(0);
      expect(result.errorMessage).toBeTruthy();
      expect(result.executionRecovery).toBeUndefined();
      run.lines.expectExactlyOnce(7);
      await expectNothingLeft(scene, await run.job);
    },
  );
}

suite.case("out of memory: said so", async (scene) => {
  const byHook = scene.context.operations.includes("oomKill");
  const run = execute(scene, {
    script: `init; lines 5; ${byHook ? "until-term" : "oom"}`,
    config: {
      resources: { requests: { cpu: "5m", memory: "16Mi" }, limits: { cpu: "500m", memory: "48Mi" } },
      podPatch: { spec: { initContainers: [sidecarWithMemory(scene.context)] } },
    },
  });
  if (byHook) {
    await run.lines.atLeast(6, scene.signal);
    const pod = await podOf(scene, await run.job);
    await scene.operate("oomKill", { namespace: scene.namespace, pod, container: CONTAINER });
  }
  const result = await run.result;
  expect(result).toMatchObject({ exitCode: 137 });
  expect(result.errorMessage).toMatch(/memory|OOMKilled/i);
  run.lines.expectExactlyOnce(6);
});

suite.case(
  "Docker beside the agent (a native sidecar) holds up nothing",
  async (scene) => {
    const run = execute(scene, {
      script: "init; lines 5; result",
      config: { enableDocker: true, dockerImage: scene.context.image, dockerCpuLimit: "200m" },
    });
    expect(await run.result).toMatchObject({ exitCode: 0 });
    run.lines.expectExactlyOnce(7);
  },
  {
    skip: ({ mountedClaude }) =>
      mountedClaude === null ? null : "the image has no `dockerd` that a sidecar could run",
  },
);

for (const kib of [128, 900]) {
  suite.case(`a prompt of ${kib} KiB arrives whole`, async (scene) => {
    const run = execute(scene, {
      script: "init; result",
      prompt: randomBytes((kib * 1024 * 3) / 4).toString("base64"),
    });
    expect(await run.result).toMatchObject({ exitCode: 0 });
    expect(run.lines.init?.prompt_bytes).toBeGreaterThan(kib * 1024);
    expectPrompt(run);
    await expectNothingLeft(scene, await run.job);
  });
}

suite.case("lines of 1 MB arrive whole, in pieces that the host can store", async (scene) => {
  const run = execute(scene, { script: "init; burst 3 1000000; result" });
  expect(await run.result).toMatchObject({ exitCode: 0 });
  run.lines.expectExactlyOnce(5);
  expect(run.lines.texts.map((text) => text.length)).toEqual([2 ** 20, 2 ** 20, 2 ** 20]);
  expect(run.longestPiece()).toBeLessThanOrEqual(64 * 1024);
});

suite.case("10 MB of output over several rotations of the kubelet's log file", async (scene) => {
  const run = execute(scene, { script: `init; ${tenMegabytes(scene.context)}; result` });
  expect(await run.result).toMatchObject({ exitCode: 0 });
  run.lines.expectExactlyOnce(10_002);
});

suite.case("2 000 lines a second for three seconds", async (scene) => {
  const run = execute(scene, { script: "init; rate 6000 2000; result" });
  expect(await run.result).toMatchObject({ exitCode: 0 });
  run.lines.expectExactlyOnce(6_002);
});

suite.case(
  "30 runs at once: each its own result and its own lines",
  async (scene) => {
    const results = await Promise.all(
      Array.from({ length: 30 }, async (_, index) => {
        const run = execute(scene, { script: `init; lines ${index} 0.02; result` });
        const result = await run.result;
        run.lines.expectExactlyOnce(index + 2);
        return result.exitCode;
      }),
    );
    expect(results).toEqual(Array(30).fill(0));
  },
  { alone: true },
);

/** Held against what the adapter told the host that it sent. */
function expectPrompt({ lines, meta }: ReturnType<typeof execute>): void {
  expect(lines.init?.prompt_sha256).toBe(sha256(meta[0]?.prompt ?? ""));
}

async function expectNothingLeft(scene: Scene, job: string): Promise<void> {
  const run = scene.engine.attach({ namespace: scene.namespace, jobName: job });
  try {
    await run.gone({ signal: scene.signal });
  } finally {
    run.release();
  }
  // The garbage collector deletes the run's Secret behind its Job.
  await vi.waitFor(
    async () => {
      const { items } = await scene.cluster.json<{ items: { metadata: { name: string } }[] }>({
        path: scene.path("", "secrets"),
      });
      expect(items.map(({ metadata }) => metadata.name).filter((name) => name.startsWith(job))).toEqual([]);
    },
    { timeout: 30_000, interval: 200 },
  );
}

async function podOf(scene: Scene, job: string): Promise<string> {
  const { items } = await scene.cluster.json<{ items: { metadata: { name: string } }[] }>({
    path: scene.path("", "pods"),
    query: { labelSelector: `batch.kubernetes.io/job-name=${job}` },
  });
  const [pod] = items;
  if (pod === undefined) throw new Error(`Job ${job} has no pod`);
  return pod.metadata.name;
}

async function evict(scene: Scene, name: string): Promise<void> {
  await scene.cluster.json({
    method: "POST",
    path: `${scene.path("", "pods")}/${name}/eviction`,
    body: { apiVersion: "policy/v1", kind: "Eviction", metadata: { name, namespace: scene.namespace } },
  });
}
