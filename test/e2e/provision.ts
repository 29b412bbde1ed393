import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ApiError,
  type Cluster,
  isAlreadyExists,
  isForbidden,
  loadKubeConfig,
  RunEngine,
  StartFailedError,
} from "../../src/engine/index.ts";
import { CLAUDE_DIRECTORY, type E2eContext, RUN_LABEL } from "./context.ts";
import { runAll } from "./support/clean-up.ts";
import { FIXTURE_DIRECTORY } from "./targets/fixture.ts";
import type { Target } from "./targets/target.ts";

/** What the suite has made in the cluster before the first test, and takes away after the last. */
export interface Provision extends Pick<E2eContext, "namespace" | "suiteRun" | "mountedClaude" | "noClaims"> {
  remove(): Promise<void>;
}

/** Images may be large and the registry slow; that it says no is what ends the wait. */
const IMAGE_REFUSED_GRACE_MS = 60_000;
const REMOVE_TIMEOUT_MS = 60_000;

/**
 * Makes the namespace, looks whether the images can be run and have a fake `claude`, and puts bystanders into the namespace
 * that no test may trip over.
 * @throws Error naming the image that cannot be run, in the cluster's own words
 */
export async function provision(target: Target, signal: AbortSignal): Promise<Provision> {
  const suiteRun = randomBytes(4).toString("hex");
  const kubeConfig = loadKubeConfig(target.kubeconfig);
  const namespace = target.namespace ?? `k8s-run-informer-e2e-${suiteRun}`;
  const engine = RunEngine.create({ kubeConfig, namespace, labels: { [RUN_LABEL]: suiteRun } });
  const { cluster } = engine;
  const isOurs = await createNamespace(cluster, namespace, suiteRun);
  const remove = () => runAll([() => engine.stop(), () => removeAll(target, namespace, suiteRun, isOurs)]);
  try {
    await engine.synced(signal);
    await createBystander(cluster, namespace, suiteRun, target.image);
    const hasClaude = await probeImage(engine, { namespace, suiteRun, image: target.image, signal });
    const mountedClaude = hasClaude ? null : await mountClaude(cluster, namespace, suiteRun, target.image);
    return { namespace, suiteRun, mountedClaude, noClaims: await whyNoClaims(cluster), remove };
  } catch (error) {
    await remove().catch((problem: unknown) => console.error("cleaning up failed:", problem));
    throw error;
  }
}

/** False: it was there before, and stays. */
async function createNamespace(cluster: Cluster, name: string, suiteRun: string): Promise<boolean> {
  try {
    await cluster.json({
      method: "POST",
      path: "/api/v1/namespaces",
      body: { apiVersion: "v1", kind: "Namespace", metadata: { name, labels: { [RUN_LABEL]: suiteRun } } },
    });
    return true;
  } catch (error) {
    if (isAlreadyExists(error)) return false;
    throw error;
  }
}

/** Ends with the namespace; stands for all that other people run there. */
async function createBystander(cluster: Cluster, namespace: string, suiteRun: string, image: string): Promise<void> {
  await cluster.json({
    method: "POST",
    path: `/apis/batch/v1/namespaces/${namespace}/jobs`,
    body: {
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: `bystander-${suiteRun}`, labels: { [BYSTANDER_LABEL]: suiteRun } },
      spec: {
        template: {
          metadata: { labels: { [BYSTANDER_LABEL]: suiteRun } },
          spec: {
            restartPolicy: "Never",
            terminationGracePeriodSeconds: 1,
            containers: [{ name: "claude", image, command: ["sh", "-c", "sleep 3600"] }],
          },
        },
      },
    },
  });
}

const BYSTANDER_LABEL = "k8s-run-informer/e2e-bystander";

interface Probe {
  readonly namespace: string;
  readonly suiteRun: string;
  readonly image: string;
  readonly signal: AbortSignal;
}

/** Runs the image once. Returns whether it has a fake `claude`. */
async function probeImage(engine: RunEngine, { namespace, suiteRun, image, signal }: Probe): Promise<boolean> {
  const labels = { [RUN_LABEL]: suiteRun };
  const run = await engine.launch(
    {
      metadata: { name: `probe-${suiteRun}`, namespace, labels },
      spec: {
        backoffLimit: 0,
        template: {
          metadata: { labels },
          spec: {
            restartPolicy: "Never",
            containers: [{ name: "claude", image, command: ["sh", "-c", "claude --fake-version; true"] }],
          },
        },
      },
    },
    { policy: { imagePullGraceMs: IMAGE_REFUSED_GRACE_MS } },
  );
  try {
    await run.podReady({ container: "claude", signal });
    let hasClaude = false;
    for await (const { text } of run.logs({ container: "claude", signal })) hasClaude ||= text === "fake-claude 1";
    await run.terminated({ container: "claude", signal });
    return hasClaude;
  } catch (error) {
    if (!(error instanceof StartFailedError)) throw error;
    const { failure } = error;
    throw new Error(
      `the image ${image} cannot be run on this cluster: ${failure.reason}: ${failure.message}. Name one that can in E2E_IMAGE, or load it onto the nodes.`,
      { cause: error },
    );
  } finally {
    await run.delete();
  }
}

/** For images without one: the script in a Secret, and a pod that mounts it, from which the adapter's Jobs inherit. */
async function mountClaude(
  cluster: Cluster,
  namespace: string,
  suiteRun: string,
  image: string,
): Promise<E2eContext["mountedClaude"]> {
  const secret = `fake-claude-${suiteRun}`;
  const serverPod = `server-${suiteRun}`;
  const data: Record<string, string> = {};
  for (const name of ["claude", "docker", "dockerd"]) {
    data[name] = (await readFile(join(FIXTURE_DIRECTORY, name))).toString("base64");
  }
  const labels = { [BYSTANDER_LABEL]: suiteRun };
  await cluster.json({
    method: "POST",
    path: `/api/v1/namespaces/${namespace}/secrets`,
    body: { apiVersion: "v1", kind: "Secret", metadata: { name: secret, labels }, data },
  });
  await cluster.json({
    method: "POST",
    path: `/api/v1/namespaces/${namespace}/pods`,
    body: {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: serverPod, labels },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [
          {
            name: "paperclip",
            image,
            command: ["sh", "-c", "sleep 3600"],
            volumeMounts: [{ name: "fake-claude", mountPath: CLAUDE_DIRECTORY }],
          },
        ],
        volumes: [{ name: "fake-claude", secret: { secretName: secret, defaultMode: 0o555 } }],
      },
    },
  });
  return { secret, serverPod };
}

/** A cluster without storage classes at all (the embedded one) binds any claim. */
async function whyNoClaims(cluster: Cluster): Promise<string | null> {
  try {
    const { items = [] } = await cluster.json<{ items?: { metadata?: { annotations?: Record<string, string> } }[] }>({
      path: "/apis/storage.k8s.io/v1/storageclasses",
    });
    const isDefault = (annotations: Record<string, string> = {}) =>
      annotations["storageclass.kubernetes.io/is-default-class"] === "true";
    return items.some(({ metadata }) => isDefault(metadata?.annotations))
      ? null
      : "the cluster has no default StorageClass";
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 404) return null;
    if (isForbidden(error)) return `the kubeconfig's user may not list StorageClasses: ${error.message}`;
    throw error;
  }
}

/** Everything that carries this run's labels, then the namespace if the suite made it. */
async function removeAll(target: Target, namespace: string, suiteRun: string, isOurs: boolean): Promise<void> {
  const engine = RunEngine.create({
    kubeConfig: loadKubeConfig(target.kubeconfig),
    namespace,
    labels: { [RUN_LABEL]: suiteRun },
  });
  const { cluster } = engine;
  const collections = [
    "/apis/batch/v1/namespaces/{}/jobs",
    "/api/v1/namespaces/{}/pods",
    "/api/v1/namespaces/{}/secrets",
    "/api/v1/namespaces/{}/configmaps",
    "/api/v1/namespaces/{}/persistentvolumeclaims",
  ].map((path) => path.replace("{}", namespace));
  const deletions = [RUN_LABEL, BYSTANDER_LABEL].flatMap((label) =>
    collections.map((path) => () => {
      const query = { labelSelector: `${label}=${suiteRun}`, propagationPolicy: "Background" };
      return cluster.json({ method: "DELETE", path, query });
    }),
  );
  const path = `/api/v1/namespaces/${namespace}`;
  const deleteNamespace = () => cluster.json({ method: "DELETE", path, timeoutMs: REMOVE_TIMEOUT_MS });
  await runAll([...deletions, ...(isOurs ? [deleteNamespace] : []), () => engine.stop()]);
}
