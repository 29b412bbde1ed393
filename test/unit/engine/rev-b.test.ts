import { expect, it, onTestFinished } from "vitest";
import { EngineStoppedError, RunEngine } from "../../../src/engine/index.ts";
import { kubeConfigOf, LABELS, NAMESPACE, startKubernetes } from "./harness.ts";

const MAIN = { container: "main" };
const job = (name: string) => ({
  metadata: { name, labels: LABELS },
  spec: {
    backoffLimit: 0,
    template: {
      metadata: { labels: LABELS },
      spec: { restartPolicy: "Never", containers: [{ name: "main", image: "agent" }] },
    },
  },
});

it("an end waits five seconds at most for a server that refuses to tell of the pods", async () => {
  const k8s = await startKubernetes({ delays: "fast" });
  k8s.addProgram("main", async () => 3);
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  k8s.faults.stallWatches(undefined, { resource: "pods" });
  k8s.faults.errorRate({ status: 429, retryAfterSeconds: 4, match: { verb: "list" } });
  const run = await engine.launch(job("refused"), { policy: { settleMs: 50 } });
  const began = performance.now();
  expect(await run.terminated(MAIN)).toMatchObject({ kind: "failed" });
  console.log("took", Math.round(performance.now() - began));
  expect(performance.now() - began).toBeLessThan(9_000);
}, 60_000);

it("a launch under way ends with EngineStoppedError when the engine is stopped", async () => {
  const k8s = await startKubernetes({ delays: "fast" });
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  k8s.faults.errorRate({ status: 429, retryAfterSeconds: 4, match: { verb: "create" } });
  const launching = engine.launch(job("late")).catch((error: unknown) => error);
  await new Promise((resolve) => setTimeout(resolve, 50));
  await engine.stop();
  const error = await launching;
  console.log(String(error));
  expect(error).toBeInstanceOf(EngineStoppedError);
});
