/** The log of a run over the engine and the embedded Kubernetes. */
import { expect, it, onTestFinished } from "vitest";
import { type Run, RunEngine } from "../../../src/engine/index.ts";
import { kubeConfigOf, LABELS, NAMESPACE, startKubernetes } from "../engine/harness.ts";

const MAIN = { container: "main" };

/** A run that prints `lines` and is silent from then on, until it is told to end. */
async function silentAfter(lines: readonly string[]): Promise<Run> {
  const k8s = await startKubernetes({ delays: "fast" });
  k8s.addProgram("main", async function* (container) {
    yield* lines;
    await container.sleep(1e9, { interruptible: true }).catch(() => undefined);
    return 143;
  });
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  return await engine.launch({
    metadata: { name: "silent", labels: LABELS },
    spec: {
      backoffLimit: 0,
      template: {
        metadata: { labels: LABELS },
        spec: {
          restartPolicy: "Never",
          terminationGracePeriodSeconds: 1,
          containers: [{ name: "main", image: "agent" }],
        },
      },
    },
  });
}

it("limitBytes ends the iteration, though the run goes on", async () => {
  const run = await silentAfter(["0123456789", "0123456789"]);
  const lines: string[] = [];
  const gaps: string[] = [];
  const onGap = ({ reason }: { reason: string }) => void gaps.push(reason);
  for await (const { text } of run.logs({ ...MAIN, limitBytes: 15, onGap })) lines.push(text);
  expect(lines).toEqual(["0123456789"]);
  expect(gaps).toEqual(["limit_reached"]);
  expect(run.endOf("main")).toBeNull();
});
