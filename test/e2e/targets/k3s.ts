import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { K3sContainer, type StartedK3sContainer } from "@testcontainers/k3s";
import { isOnPath, run } from "../support/shell.ts";
import { commandHooks } from "./command-hooks.ts";
import { dockerEngine } from "./docker.ts";
import { FIXTURE_IMAGE } from "./fixture.ts";
import { buildFixtureImage } from "./fixture-image.ts";
import { rbacUsers } from "./rbac-users.ts";
import { type Target, TargetUnavailableError } from "./target.ts";

const DEFAULT_K3S_IMAGE = "rancher/k3s:v1.36.2-k3s1";

/** A cluster of one container, for machines with Docker and no kind. */
export async function startK3s(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<Target> {
  const engine = await dockerEngine();
  if ("missing" in engine) throw new TargetUnavailableError("k3s", engine.missing);
  if (!(await isOnPath("docker")))
    throw new TargetUnavailableError("k3s", "there is no `docker` on the PATH, which saves the fixture image");
  await buildFixtureImage(FIXTURE_IMAGE).catch((error: unknown) => {
    throw new TargetUnavailableError("k3s", `the fixture image could not be built: ${String(error)}`, { cause: error });
  });
  const directory = await mkdtemp(join(tmpdir(), "k8s-run-informer-k3s-"));
  const images = join(directory, "images.tar");
  let container: StartedK3sContainer | null = null;
  const stop = async () => {
    await container?.stop();
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await run("docker", ["save", "--output", images, FIXTURE_IMAGE], { signal });
    container = await startContainer(env.E2E_K3S_IMAGE?.trim() || DEFAULT_K3S_IMAGE, images);
    signal.throwIfAborted();
    return await targetOf(env, container, directory, stop);
  } catch (error) {
    await stop().catch((problem: unknown) => console.error("cleaning up failed:", problem));
    throw error;
  }
}

async function targetOf(
  env: NodeJS.ProcessEnv,
  container: StartedK3sContainer,
  directory: string,
  stop: () => Promise<void>,
): Promise<Target> {
  const kubeconfig = join(directory, "kubeconfig");
  await writeFile(kubeconfig, container.getKubeConfig(), { mode: 0o600 });
  const hooks = commandHooks(env, kubeconfig);
  const users = await rbacUsers(kubeconfig);
  return {
    kubeconfig,
    image: FIXTURE_IMAGE,
    namespace: env.E2E_NAMESPACE || null,
    missingImage: "localhost:1/missing/none:1",
    timeScale: 1,
    sideBySide: false,
    operations: { ...hooks.operations, ...users.operations },
    unavailable: { ...hooks.unavailable, ...users.unavailable },
    stop: async () => {
      if (env.E2E_KEEP) {
        console.log(`E2E_KEEP is set: the container ${container.getName()} is left, kubeconfig ${kubeconfig}`);
        console.log(`to delete it: docker rm --force --volumes ${container.getName()}`);
        return;
      }
      await stop();
    },
  };
}

async function startContainer(image: string, images: string): Promise<StartedK3sContainer> {
  try {
    return await new K3sContainer(image)
      .withCommand([
        "server",
        "--disable=traefik",
        "--disable=metrics-server",
        "--kubelet-arg=container-log-max-size=1Mi",
      ])
      // k3s imports what lies there when it starts.
      .withCopyFilesToContainer([{ source: images, target: "/var/lib/rancher/k3s/agent/images/e2e.tar" }])
      .start();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new TargetUnavailableError(
      "k3s",
      `the container of ${image} could not be started: ${message}. Where no registry can be reached, load the image beforehand (\`docker load\`) and name it in E2E_K3S_IMAGE, or use E2E_TARGET=embedded.`,
      { cause: error },
    );
  }
}
