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
const engine = await RunEngine.start({
  kubeConfig: loadKubeConfig(k8s.kubeconfig),
  namespace: "batch",
  labels: { app: "job-runner" },
  maxConcurrent: 20,
});

async function square(number: number): Promise<boolean> {
  const containers = [{ name: "worker", image: "example/worker", args: [`${number}`] }];
  const spec = { backoffLimit: 0, template: { spec: { restartPolicy: "Never", containers } } };
  const job = { metadata: { name: `square-${number}` }, spec };
  const onLine = ({ text }: { text: string }) => console.log(text);
  return (await engine.run(job, { signal: interrupt.signal, keep: "failed", onLine })).hasSucceeded;
}
const results = await Promise.allSettled(Array.from({ length: 100 }, (_, index) => square(index + 1)));
const succeeded = results.filter((result) => result.status === "fulfilled" && result.value).length;
console.log(`${succeeded} of ${results.length} succeeded`);
process.exitCode = succeeded === results.length ? 0 : 1;
await engine.stop();
await k8s.stop();
