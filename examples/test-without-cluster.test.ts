/**
 * Your own code, tested without a cluster: `npx vitest run examples/test-without-cluster.test.ts`
 *
 * The embedded Kubernetes speaks HTTPS to the real client: nothing is mocked, and what breaks on a network can be broken on purpose.
 * Installed, the imports are "k8s-run-informer/engine" and "k8s-run-informer/embedded".
 */
import { afterEach, beforeEach, expect, test } from "vitest";
import { EmbeddedKubernetes } from "../src/embedded/index.ts";
import { loadKubeConfig, RunEngine } from "../src/engine/index.ts";

/** The code under test: runs a check and says what it found. */
async function check(engine: RunEngine, name: string): Promise<string> {
  const lines: string[] = [];
  const template = { spec: { restartPolicy: "Never", containers: [{ name: "check", image: "example/check" }] } };
  const result = await engine.run(
    { metadata: { name }, spec: { backoffLimit: 0, template } },
    { onLine: ({ text }) => lines.push(text), signal: AbortSignal.timeout(20_000) },
  );
  if (!result.hasSucceeded) return `failed: ${result.end.startFailure?.code ?? `exit code ${result.end.exitCode}`}`;
  return `${lines.length} lines, ${result.gaps.length} gaps`;
}

let k8s: EmbeddedKubernetes;
let engine: RunEngine;

beforeEach(async () => {
  k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: ["checks"] });
  k8s.addProgram("check", async function* (container) {
    for (let i = 0; i < 200; i += 1) {
      yield `line ${i}`;
      if (i % 20 === 0) await container.sleep(20);
    }
  });
  engine = await RunEngine.start({
    kubeConfig: loadKubeConfig(k8s.kubeconfig),
    namespace: "checks",
    labels: { app: "checks" },
    backoff: { baseMs: 10, maxMs: 50, minIntervalMs: 10 },
    policy: { imagePullGraceMs: 0 },
  });
});

afterEach(async () => {
  await engine.stop();
  await k8s.stop();
});

test("a check that succeeds: every line, and nothing is left behind", async () => {
  expect(await check(engine, "good")).toBe("200 lines, 0 gaps");
  await k8s.objects.until(() => k8s.objects.list("pods", "checks").length === 0);
});

test("a check that fails says its exit code", async () => {
  k8s.addProgram("check", async function* () {
    yield "no";
    return 3;
  });
  expect(await check(engine, "bad")).toBe("failed: exit code 3");
});

test("an image that is not there is said, and not waited for without end", async () => {
  k8s.failImagePull("example/check");
  expect(await check(engine, "no-image")).toBe("failed: image_pull");
});

test("no line is lost or doubled while logs and watches break and creates are refused", async () => {
  const logs = k8s.faults.cutLogs({ everyBytes: 500, how: "random" });
  const refused = k8s.faults.errorRate({ status: 503, rate: 0.5, match: { verb: "create" } });
  const done = check(engine, "rough");
  await k8s.objects.until(() => k8s.objects.list("pods", "checks").length > 0);
  k8s.faults.cutWatches({ how: "reset" });
  expect(await done).toBe("200 lines, 0 gaps");
  // A fault that hit nothing would have tested nothing.
  expect(logs.hits).toBeGreaterThan(0);
  logs.remove();
  refused.remove();
});
