/** What is certain of an agent: of Jobs and pods that the watch has shown, over the wire. */
import { expect, onTestFinished, test } from "vitest";
import { surelyNeverRan } from "../../../src/adapter/run/agent.ts";
import { RunEngine } from "../../../src/engine/index.ts";
import { job, kubeConfigOf, LABELS, NAMESPACE, startKubernetes } from "../engine/harness.ts";

test.each([
  ["for a reason, as a kubelet does that refuses it: its agent never ran", { reason: "OutOfcpu" }, "start_failed"],
  ["and nothing else, as a virtual node does: its agent may have run", {}, "failed"],
  [
    "and that its container waits for no reason: its agent may have run",
    { containerStatuses: [{ name: "main", restartCount: 0, state: { waiting: {} }, lastState: { waiting: {} } }] },
    "failed",
  ],
])("a pod that is said to have failed %s", async (_, words, kind) => {
  const k8s = await startKubernetes({ delays: "fast", nodes: [] });
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  const run = await engine.launch(job("told-little"));
  const pod = await k8s.objects.until(() => k8s.objects.list("pods", NAMESPACE)[0]);
  k8s.objects.update("pods", NAMESPACE, pod.metadata.name, (draft) => {
    draft.status = { phase: "Failed", ...words };
  });
  const end = await run.terminated({ container: "main" });
  expect(end).toMatchObject({ kind, exitCode: null });
  expect(surelyNeverRan(run, "main", end)).toBe(kind === "start_failed");
});

test("a container that is lost after a Stop: its agent never ran, unless a watch was down before it, in which the node may have restarted", async () => {
  const k8s = await startKubernetes({ delays: "fast", nodes: [] });
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  const run = await engine.launch(job("lost"));
  const pod = await k8s.objects.until(() => k8s.objects.list("pods", NAMESPACE)[0]);
  k8s.objects.update("pods", NAMESPACE, pod.metadata.name, (draft) => {
    const terminated = { exitCode: 137, reason: "ContainerStatusUnknown" };
    draft.status = { phase: "Failed", containerStatuses: [{ name: "main", restartCount: 0, state: { terminated } }] };
  });
  const end = await run.terminated({ container: "main" });
  expect(surelyNeverRan(run, "main", end, { wasBlind: false })).toBe(true);
  expect(surelyNeverRan(run, "main", end, { wasBlind: true })).toBe(false);
});
