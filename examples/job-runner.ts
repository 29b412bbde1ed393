/**
 * A hundred Jobs, twenty at once, ended by Ctrl-C: `node examples/job-runner.ts`
 *
 * Installed, the imports are "k8s-run-informer/engine" and "k8s-run-informer/embedded"; on a cluster of yours `loadKubeConfig()`.
 */
import { EmbeddedKubernetes } from "../src/embedded/index.ts";
import { loadKubeConfig, RunEngine } from "../src/engine/index.ts";

const k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: ["batch"] });
k8s.addProgram("worker", async function* (container) {
  yield `square of ${container.args[0]}: ${Number(container.args[0]) ** 2}`;
});

const interrupt = new AbortController();
process.once("SIGINT", () => interrupt.abort());

const labels = { app: "job-runner" };
const kubeConfig = loadKubeConfig(k8s.kubeconfig);
const engine = await RunEngine.start({ kubeConfig, namespace: "batch", labels, maxConcurrent: 20 });

const numbers = Array.from({ length: 100 }, (_, index) => index + 1);
const results = await Promise.allSettled(
  numbers.map((number) =>
    engine.run(
      {
        metadata: { name: `square-${number}` },
        spec: {
          backoffLimit: 0,
          template: {
            spec: {
              restartPolicy: "Never",
              containers: [{ name: "worker", image: "example/worker", args: [`${number}`] }],
            },
          },
        },
      },
      { signal: interrupt.signal, keep: "failed", onLine: ({ text }) => console.log(text) },
    ),
  ),
);
const succeeded = results.filter((result) => result.status === "fulfilled" && result.value.hasSucceeded).length;
console.log(`${succeeded} of ${results.length} succeeded`);
process.exitCode = succeeded === results.length ? 0 : 1;
await engine.stop();
await k8s.stop();
