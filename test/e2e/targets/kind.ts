import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Cluster, loadKubeConfig } from "../../../src/engine/index.ts";
import { runAll } from "../support/clean-up.ts";
import { CommandError, isOnPath, run } from "../support/shell.ts";
import { commandHooks } from "./command-hooks.ts";
import { dockerEngine } from "./docker.ts";
import { FIXTURE_IMAGE } from "./fixture.ts";
import { buildFixtureImage } from "./fixture-image.ts";
import { rbacUsers } from "./rbac-users.ts";
import { type Operations, type Target, TargetUnavailableError } from "./target.ts";

const CONFIG = fileURLToPath(new URL("../../../kind-config.yaml", import.meta.url));
/** Of a cluster that is kept, and used again by the next run that keeps it. */
const KEPT_NAME = "k8s-run-informer-e2e";

/**
 * A cluster of its own by kind, under a name of its own, deleted afterwards. With `E2E_KEEP` it has a fixed name and stays; one
 * that is there is used again, and never deleted.
 */
export async function startKind(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<Target> {
  const engine = await dockerEngine();
  if ("missing" in engine) throw new TargetUnavailableError("kind", engine.missing);
  if (!(await isOnPath("kind")))
    throw new TargetUnavailableError("kind", "there is no `kind` on the PATH (https://kind.sigs.k8s.io)");
  if (!(await isOnPath("docker")))
    throw new TargetUnavailableError("kind", "there is no `docker` on the PATH, by which kind works");
  await buildFixtureImage(FIXTURE_IMAGE).catch((error: unknown) => {
    throw new TargetUnavailableError("kind", `the fixture image could not be built: ${String(error)}`, {
      cause: error,
    });
  });
  signal.throwIfAborted();
  const directory = await mkdtemp(join(tmpdir(), "k8s-run-informer-kind-"));
  const kubeconfig = join(directory, "kubeconfig");
  const keep = Boolean(env.E2E_KEEP);
  const name = keep ? KEPT_NAME : `${KEPT_NAME}-${randomBytes(4).toString("hex")}`;
  let isOurs = false;
  const remove = () =>
    runAll([
      ...(isOurs ? [() => deleteCluster(name, kubeconfig)] : []),
      () => rm(directory, { recursive: true, force: true }),
    ]);
  try {
    if ((await run("kind", ["get", "clusters"], { signal })).split("\n").includes(name)) {
      await reuseCluster(name, kubeconfig, signal);
    } else {
      isOurs = true;
      await createCluster(env, { name, kubeconfig, signal }).catch((error: unknown) => {
        // Another run that keeps its cluster was faster.
        isOurs = !isNameTaken(error);
        throw error;
      });
    }
    const nodes = await nodesOf(name, signal);
    await run("kind", ["load", "docker-image", "--name", name, FIXTURE_IMAGE], { signal });
    const hooks = commandHooks(env, kubeconfig);
    const own = ownOperations(nodes, kubeconfig);
    const users = await rbacUsers(kubeconfig);
    signal.throwIfAborted();
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
      stop: async () => {
        if (!keep) return await remove();
        console.log(`E2E_KEEP is set: kind's cluster ${name} is left, kubeconfig ${kubeconfig}`);
        console.log(`to delete it: kind delete cluster --name ${name}`);
      },
    };
  } catch (error) {
    await remove().catch((problem: unknown) => console.error("cleaning up failed:", problem));
    throw error;
  }
}

const DELETE_ATTEMPTS = 3;

/** More than once where nodes are left: Docker may still have been making one when the creation was ended. */
async function deleteCluster(name: string, kubeconfig: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    await run("kind", ["delete", "cluster", "--name", name, "--kubeconfig", kubeconfig]);
    const left = await nodesOf(name);
    if (left.length === 0) return;
    if (attempt === DELETE_ATTEMPTS) throw new Error(`kind left nodes of the cluster ${name}: ${left.join(", ")}`);
  }
}

async function nodesOf(name: string, signal?: AbortSignal): Promise<string[]> {
  const options = signal === undefined ? {} : { signal };
  return (await run("kind", ["get", "nodes", "--name", name], options)).split("\n").filter(Boolean);
}

interface KindCluster {
  readonly name: string;
  readonly kubeconfig: string;
  readonly signal: AbortSignal;
}

async function reuseCluster(name: string, kubeconfig: string, signal: AbortSignal): Promise<void> {
  await run("kind", ["export", "kubeconfig", "--name", name, "--kubeconfig", kubeconfig], { signal });
  await checkNodes(name, kubeconfig, await nodesOf(name, signal));
}

async function createCluster(env: NodeJS.ProcessEnv, { name, kubeconfig, signal }: KindCluster): Promise<void> {
  const image = env.E2E_KIND_IMAGE?.trim();
  const args = ["create", "cluster", "--name", name, "--config", CONFIG, "--kubeconfig", kubeconfig, "--wait", "180s"];
  try {
    await run("kind", image ? [...args, "--image", image] : args, { signal });
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const isPull = /failed to pull image|pull access denied|Error response from daemon: Get /i.test(error.output);
    const why = isPull
      ? "kind's node image could not be pulled. Where no registry can be reached, load one beforehand (`docker load`) and name it in E2E_KIND_IMAGE, or use E2E_TARGET=embedded."
      : "kind could not create a cluster.";
    throw new TargetUnavailableError("kind", `${why}\n${error.output.trim().slice(-2_000)}`, { cause: error });
  }
}

function isNameTaken(error: unknown): boolean {
  const { cause } = error as Error;
  return cause instanceof CommandError && /already exist for a cluster with the name/.test(cause.output);
}

/** A creation that was broken off leaves a cluster that kind lists and that cannot be used. @throws TargetUnavailableError */
async function checkNodes(name: string, kubeconfig: string, nodes: readonly string[]): Promise<void> {
  const cluster = new Cluster({ kubeConfig: loadKubeConfig(kubeconfig) });
  try {
    const { items } = await cluster.json<{
      items: { metadata: { name: string }; status?: { conditions?: { type: string; status: string }[] } }[];
    }>({ path: "/api/v1/nodes" });
    const ready = items
      .filter(({ status }) => status?.conditions?.some((each) => each.type === "Ready" && each.status === "True"))
      .map(({ metadata }) => metadata.name);
    const missing = nodes.filter((node) => !ready.includes(node));
    if (nodes.length > 0 && missing.length === 0) return;
    throw new Error(`not ready: ${missing.join(", ") || "there are no nodes"}`);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new TargetUnavailableError(
      "kind",
      `the kept cluster ${name} cannot be used (${message}). Delete it: kind delete cluster --name ${name}`,
      { cause: error },
    );
  } finally {
    await cluster.close();
  }
}

/** Compacts etcd to its latest revision, in etcd's own container. */
const COMPACT = `id=$(crictl ps --quiet --name '^etcd$' | head -n 1)
keys=/etc/kubernetes/pki/etcd
etcdctl() { crictl exec "$id" etcdctl --cacert $keys/ca.crt --cert $keys/server.crt --key $keys/server.key "$@"; }
revision=$(etcdctl endpoint status --write-out json | sed 's/.*"revision":\\([0-9]*\\).*/\\1/')
etcdctl compact "$revision"`;

/** kind's nodes are containers, and its API server a static pod of the control plane's kubelet. */
function ownOperations(nodes: readonly string[], kubeconfig: string): Partial<Operations> {
  const controlPlane = nodes.find((name) => name.endsWith("-control-plane"));
  const restartApiServer = async (node: string) => {
    // The static pod's container is killed; the kubelet makes another. One that was just started has no back-off from before.
    await run("docker", ["exec", node, "pkill", "-KILL", "-x", "kube-apiserver"]);
    await run("docker", ["exec", node, "systemctl", "restart", "kubelet"]);
    await untilReady(kubeconfig);
  };
  return {
    ...(controlPlane === undefined
      ? {}
      : {
          restartApiServer: async () => {
            await restartApiServer(controlPlane);
            return null;
          },
          expireVersions: async () => {
            await run("docker", ["exec", controlPlane, "sh", "-ec", COMPACT]);
            // Its watch cache would answer from memory.
            await restartApiServer(controlPlane);
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
