import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Cluster, loadKubeConfig } from "../../../src/engine/index.ts";
import { CommandError, isOnPath, run } from "../support/shell.ts";
import { commandHooks } from "./command-hooks.ts";
import { dockerEngine } from "./docker.ts";
import { FIXTURE_IMAGE, INIT_IMAGE } from "./fixture.ts";
import { buildFixtureImage } from "./fixture-image.ts";
import { rbacUsers } from "./rbac-users.ts";
import { type Operations, type Target, TargetUnavailableError } from "./target.ts";

const CONFIG = fileURLToPath(new URL("../../../kind-config.yaml", import.meta.url));
const CLUSTER_NAME = "k8s-run-informer-e2e";

/** A cluster of its own by kind, deleted afterwards unless `E2E_KEEP` is set; one that was kept is used again. */
export async function startKind(env: NodeJS.ProcessEnv): Promise<Target> {
  const engine = await dockerEngine();
  if ("missing" in engine) throw new TargetUnavailableError("kind", engine.missing);
  if (!(await isOnPath("kind")))
    throw new TargetUnavailableError("kind", "there is no `kind` on the PATH (https://kind.sigs.k8s.io)");
  await buildFixtureImage([FIXTURE_IMAGE, INIT_IMAGE]).catch((error: unknown) => {
    throw new TargetUnavailableError("kind", `the fixture image could not be built: ${String(error)}`, {
      cause: error,
    });
  });
  const directory = await mkdtemp(join(tmpdir(), "k8s-run-informer-kind-"));
  const kubeconfig = join(directory, "kubeconfig");
  const keep = Boolean(env.E2E_KEEP);
  const stop = async () => {
    if (!keep) await run("kind", ["delete", "cluster", "--name", CLUSTER_NAME, "--kubeconfig", kubeconfig]);
    else console.log(`E2E_KEEP is set: kind's cluster ${CLUSTER_NAME} is left, kubeconfig ${kubeconfig}`);
    if (!keep) await rm(directory, { recursive: true, force: true });
  };
  try {
    await ensureCluster(env, kubeconfig);
    await run("kind", ["load", "docker-image", "--name", CLUSTER_NAME, FIXTURE_IMAGE, INIT_IMAGE]);
    const hooks = commandHooks(env, kubeconfig);
    const own = await ownOperations(kubeconfig);
    const users = await rbacUsers(kubeconfig);
    const operations = { ...own, ...hooks.operations, ...users.operations };
    const missing = { ...hooks.unavailable, ...users.unavailable };
    return {
      kubeconfig,
      image: FIXTURE_IMAGE,
      namespace: env.E2E_NAMESPACE || null,
      missingImage: "localhost:1/missing/none:1",
      timeScale: 1,
      sideBySide: false,
      operations,
      unavailable: Object.fromEntries(Object.entries(missing).filter(([name]) => !(name in operations))),
      stop,
    };
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
}

async function ensureCluster(env: NodeJS.ProcessEnv, kubeconfig: string): Promise<void> {
  const clusters = (await run("kind", ["get", "clusters"])).split("\n");
  if (clusters.includes(CLUSTER_NAME)) {
    await run("kind", ["export", "kubeconfig", "--name", CLUSTER_NAME, "--kubeconfig", kubeconfig]);
    return;
  }
  const image = env.E2E_KIND_IMAGE?.trim();
  const args = [
    "create",
    "cluster",
    "--name",
    CLUSTER_NAME,
    "--config",
    CONFIG,
    "--kubeconfig",
    kubeconfig,
    "--wait",
    "180s",
  ];
  try {
    await run("kind", image ? [...args, "--image", image] : args);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const isPull = /failed to pull image|pull access denied|Error response from daemon: Get /i.test(error.output);
    const why = isPull
      ? "kind's node image could not be pulled. Where no registry can be reached, load one beforehand (`docker load`) and name it in E2E_KIND_IMAGE, or use E2E_TARGET=embedded."
      : "kind could not create a cluster.";
    throw new TargetUnavailableError("kind", `${why}\n${error.output.trim().slice(-2_000)}`, { cause: error });
  }
}

/** kind's nodes are containers, and its API server a static pod of the control plane's kubelet. */
async function ownOperations(kubeconfig: string): Promise<Partial<Operations>> {
  const nodes = (await run("kind", ["get", "nodes", "--name", CLUSTER_NAME])).split("\n").filter(Boolean);
  const controlPlane = nodes.find((name) => name.endsWith("-control-plane"));
  return {
    ...(controlPlane === undefined
      ? {}
      : {
          restartApiServer: async () => {
            // The static pod's container is killed; the kubelet makes another.
            await run("docker", ["exec", controlPlane, "pkill", "-KILL", "-x", "kube-apiserver"]);
            await untilReady(kubeconfig);
            return null;
          },
        }),
    restartKubelet: async ({ node }) => {
      await run("docker", ["exec", node, "systemctl", "restart", "kubelet"]);
      return null;
    },
  };
}

const READY_TIMEOUT_MS = 120_000;
const READY_POLL_MS = 500;

async function untilReady(kubeconfig: string): Promise<void> {
  const cluster = new Cluster({ kubeConfig: loadKubeConfig(kubeconfig) });
  const until = performance.now() + READY_TIMEOUT_MS;
  try {
    while (true) {
      try {
        // It answers with text, not JSON.
        const { body } = await cluster.open({ path: "/readyz" });
        body.destroy();
        return;
      } catch (error) {
        if (performance.now() > until) throw error;
      }
      await delay(READY_POLL_MS);
    }
  } finally {
    await cluster.close();
  }
}
