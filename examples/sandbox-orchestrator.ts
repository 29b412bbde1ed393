/**
 * The six functions of a sandbox provider, without polling: `node examples/sandbox-orchestrator.ts`
 *
 * A sandbox is a Job. Status and pod come from the cache, so that asking costs no request; waiting is a promise. The functions know
 * a sandbox by its name alone, as they must after a restart of this process: `attach` finds the Job again.
 * Installed, the imports are "k8s-run-informer/engine" and "k8s-run-informer/embedded".
 */
import { EmbeddedKubernetes } from "../src/embedded/index.ts";
import { type KubeConfig, loadKubeConfig, type Run, type RunEnd, RunEngine } from "../src/engine/index.ts";

const NAMESPACE = "sandboxes";
const CONTAINER = "sandbox";

async function sandboxProvider(kubeConfig: KubeConfig) {
  const engine = await RunEngine.start({
    kubeConfig,
    namespace: NAMESPACE,
    labels: { app: "sandbox" },
    signal: AbortSignal.timeout(30_000),
  });
  const runs = new Map<string, Run>();
  const runOf = (name: string): Run => {
    const run = runs.get(name) ?? engine.attach({ jobName: name });
    runs.set(name, run);
    return run;
  };

  return {
    async create(name: string, image: string, command: string[], deadlineSeconds: number): Promise<void> {
      const container = { name: CONTAINER, image, command };
      const template = { spec: { restartPolicy: "Never", containers: [container] } };
      const spec = { backoffLimit: 0, activeDeadlineSeconds: deadlineSeconds, template };
      runs.set(name, await engine.launch({ metadata: { name }, spec }));
    },

    /** `alive`, `ended`, or `unknown` while the watches are down; and where it stands, for people. */
    status(name: string): { state: ReturnType<Run["liveness"]>; text: string } {
      const run = runOf(name);
      return { state: run.liveness(), text: run.phase().text };
    },

    /** Its pod and the node of it, once it runs. */
    async pod(name: string, timeoutMs = 120_000): Promise<{ name: string; node: string | undefined }> {
      const pod = await runOf(name).podReady({ container: CONTAINER, timeoutMs });
      return { name: pod.metadata.name, node: pod.spec.nodeName };
    },

    /** Each line once, over any number of broken connections, until the sandbox ends. */
    async streamLog(name: string, onLine: (line: string) => void, signal?: AbortSignal): Promise<void> {
      for await (const { text } of runOf(name).logs({ container: CONTAINER, signal })) onLine(text);
    },

    async wait(name: string, timeoutMs: number): Promise<RunEnd> {
      return await runOf(name).terminated({ container: CONTAINER, timeoutMs });
    },

    /** Resolves when Job and pod are deleted. */
    async delete(name: string): Promise<void> {
      const run = runOf(name);
      await run.delete();
      await run.gone({ timeoutMs: 60_000 });
      run.release();
      runs.delete(name);
    },

    requests: () => engine.stats().requests.byVerb,
    stop: () => engine.stop(),
  };
}

const k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: [NAMESPACE] });
k8s.addProgram(CONTAINER, async function* (container) {
  yield `running ${container.command.join(" ")}`;
  if (container.command[0] === "serve") await container.sleep(3_600_000, { interruptible: true });
  yield "done";
});
const kubeConfig = loadKubeConfig(k8s.kubeconfig);

const sandboxes = await sandboxProvider(kubeConfig);
await sandboxes.create("build-1", "example/sandbox", ["make"], 600);
await sandboxes.streamLog("build-1", (line) => console.log(`build-1 | ${line}`));
const { kind, exitCode } = await sandboxes.wait("build-1", 60_000);
console.log(`build-1 ${kind}, exit code ${exitCode}`);
await sandboxes.delete("build-1");

await sandboxes.create("server-1", "example/sandbox", ["serve"], 600);
const pod = await sandboxes.pod("server-1");
console.log(`server-1 has ${pod.name.startsWith("server-1-") ? "its pod" : "another's pod"}`);
await sandboxes.stop();

// As the next process, which knows the name alone.
const restarted = await sandboxProvider(kubeConfig);
await restarted.pod("server-1");
console.log(`server-1 ${restarted.status("server-1").state}`);
await restarted.delete("server-1");
console.log("server-1 deleted");
console.log(restarted.requests());
await restarted.stop();
await k8s.stop();
