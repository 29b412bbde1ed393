/**
 * The engine in a program of your own: `node examples/engine.ts`
 *
 * Runs two Jobs on an embedded Kubernetes. Installed, the imports are "k8s-run-informer/engine" and
 * "k8s-run-informer/embedded"; on a real cluster, `loadKubeConfig()` takes the place of the embedded one.
 */
import { EmbeddedKubernetes } from "../src/embedded/index.ts";
import { type JobManifest, loadKubeConfig, RunEngine, StartFailedError } from "../src/engine/index.ts";

const LABELS = { app: "example-agent" };
const AGENT = { container: "agent" };

const k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: ["agents"] });
k8s.addProgram("agent", async function* (container) {
  yield `working on ${container.args[0]}`;
  if (container.args[0] === "forever") await container.sleep(3_600_000, { interruptible: true });
  yield "done";
});
const kubeConfig = loadKubeConfig(k8s.kubeconfig);

const engine = await RunEngine.start({ kubeConfig, namespace: "agents", labels: LABELS });
// A watch that has trouble goes on trying; this is how to hear of it.
engine.on("problem", ({ resource, error }) => console.error(`watch of ${resource}:`, error.message));
try {
  await runToItsEnd();
  await callOff();
  await failToStart();
  // The two watches, and what only a run can ask: create, log, delete; two reads for the one that ended before it was seen to start.
  console.log(engine.stats().requests.byVerb);
} finally {
  await engine.stop();
  await k8s.stop();
}

/** Ready, the log line by line, the end. */
async function runToItsEnd(): Promise<void> {
  const run = await engine.launch(jobOf("short", "the report"));
  run.on("phase", ({ text }) => console.error(`short: ${text}`));
  await run.podReady(AGENT);
  for await (const { text } of run.logs(AGENT)) console.log(`short | ${text}`);
  const { kind, exitCode } = await run.terminated(AGENT);
  console.log(`short ${kind}, exit code ${exitCode}`);
  await run.delete();
}

/** Deleting the Job ends the run, and its end says so. */
async function callOff(): Promise<void> {
  const run = await engine.launch(jobOf("long", "forever"));
  for await (const { text } of run.logs(AGENT)) {
    console.log(`long | ${text}`);
    break;
  }
  await run.delete();
  const { kind } = await run.terminated(AGENT);
  console.log(`long ${kind}`);
  await run.gone();
}

/** The kubelet's own words, and no waiting for ever. */
async function failToStart(): Promise<void> {
  k8s.failImagePull("no-such-image");
  const job = jobOf("broken", "nothing", "no-such-image");
  const run = await engine.launch(job, { policy: { imagePullGraceMs: 0 } });
  try {
    await run.podReady({ ...AGENT, timeoutMs: 30_000 });
  } catch (error) {
    if (!(error instanceof StartFailedError)) throw error;
    console.log(`broken ${error.failure.code}: ${error.failure.reason}`);
  }
  await run.delete();
}

function jobOf(name: string, task: string, image = "example/agent"): JobManifest {
  return {
    metadata: { name, labels: LABELS },
    spec: {
      backoffLimit: 0,
      template: {
        // The pods carry the labels too: both watches select by them.
        metadata: { labels: LABELS },
        spec: { restartPolicy: "Never", containers: [{ name: "agent", image, args: [task] }] },
      },
    },
  };
}
