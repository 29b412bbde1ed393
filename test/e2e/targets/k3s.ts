import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { K3sContainer, type StartedK3sContainer } from "@testcontainers/k3s";
import { runAll } from "../support/clean-up.ts";
import { isOnPath, run } from "../support/shell.ts";
import { commandHooks } from "./command-hooks.ts";
import { type DockerEngine, dockerEngine } from "./docker.ts";
import { FIXTURE_IMAGE } from "./fixture.ts";
import { buildFixtureImage } from "./fixture-image.ts";
import { rbacUsers } from "./rbac-users.ts";
import { type Target, TargetUnavailableError } from "./target.ts";

const DEFAULT_K3S_IMAGE = "rancher/k3s:v1.36.2-k3s1";
const API_PORT = 6443;

/** A cluster of one container, under a name of its own, for machines with Docker and no kind. With `E2E_KEEP` it stays. */
export async function startK3s(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<Target> {
  const engine = await dockerEngine();
  if ("missing" in engine) throw new TargetUnavailableError("k3s", engine.missing);
  if (!(await isOnPath("docker")))
    throw new TargetUnavailableError("k3s", "there is no `docker` on the PATH, which saves the fixture image");
  await buildFixtureImage(FIXTURE_IMAGE).catch((error: unknown) => {
    throw new TargetUnavailableError("k3s", `the fixture image could not be built: ${String(error)}`, { cause: error });
  });
  signal.throwIfAborted();
  const directory = await mkdtemp(join(tmpdir(), "k8s-run-informer-k3s-"));
  const images = join(directory, "images.tar");
  const name = `k8s-run-informer-e2e-k3s-${randomBytes(4).toString("hex")}`;
  const remove = () => runAll([() => removeContainer(name), () => rm(directory, { recursive: true, force: true })]);
  try {
    await run("docker", ["save", "--output", images, FIXTURE_IMAGE], { signal });
    const image = env.E2E_K3S_IMAGE?.trim() || DEFAULT_K3S_IMAGE;
    const container = await startContainer(image, { name, images, engine, signal });
    const target = await targetOf(env, { name, container, directory, remove });
    signal.throwIfAborted();
    return target;
  } catch (error) {
    await remove().catch((problem: unknown) => console.error("cleaning up failed:", problem));
    throw error;
  }
}

interface RunningK3s {
  readonly name: string;
  readonly container: StartedK3sContainer;
  readonly directory: string;
  remove(): Promise<void>;
}

async function targetOf(env: NodeJS.ProcessEnv, { name, container, directory, remove }: RunningK3s): Promise<Target> {
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
      if (!env.E2E_KEEP) return await remove();
      console.log(`E2E_KEEP is set: the container ${name} is left, kubeconfig ${kubeconfig}`);
      console.log(`to delete it: docker rm --force --volumes ${name}`);
    },
  };
}

interface LocalK3sOptions {
  readonly name: string;
  /** Path of an archive of images. */
  readonly images: string;
  readonly engine: DockerEngine;
  readonly signal: AbortSignal;
}

/** Its API is published where this machine reaches it and nowhere else, and the creation can be broken off. */
class LocalK3s extends K3sContainer {
  readonly #signal: AbortSignal;

  constructor(image: string, { name, images, engine, signal }: LocalK3sOptions) {
    super(image);
    this.#signal = signal;
    this.withName(name)
      .withCommand([
        "server",
        "--disable=traefik",
        "--disable=metrics-server",
        "--kubelet-arg=container-log-max-size=1Mi",
        `--tls-san=${engine.host}`,
      ])
      // k3s imports what lies there when it starts.
      .withCopyFilesToContainer([{ source: images, target: "/var/lib/rancher/k3s/agent/images/e2e.tar" }]);
    // The module publishes a webhook's port too, both on every address of the machine.
    this.exposedPorts = [];
    this.createOpts.ExposedPorts = {};
    this.hostConfig.PortBindings = {};
    this.withExposedPorts(API_PORT);
    this.hostConfig.PortBindings = { [`${API_PORT}/tcp`]: [{ HostIp: engine.address, HostPort: "0" }] };
  }

  protected override async beforeContainerCreated(): Promise<void> {
    this.#signal.throwIfAborted();
    await super.beforeContainerCreated();
  }

  protected override async containerCreated(): Promise<void> {
    this.#signal.throwIfAborted();
  }
}

async function startContainer(image: string, options: LocalK3sOptions): Promise<StartedK3sContainer> {
  const { name, signal } = options;
  // The wait for the container's log ends with the container.
  let removed: Promise<void> | null = null;
  const onAbort = () => {
    removed = removeContainer(name).catch(() => {});
  };
  signal.addEventListener("abort", onAbort);
  try {
    return await new LocalK3s(image, options).start();
  } catch (error) {
    signal.throwIfAborted();
    const message = error instanceof Error ? error.message : String(error);
    throw new TargetUnavailableError(
      "k3s",
      `the container of ${image} could not be started: ${message}. Where no registry can be reached, load the image beforehand (\`docker load\`) and name it in E2E_K3S_IMAGE, or use E2E_TARGET=embedded.`,
      { cause: error },
    );
  } finally {
    signal.removeEventListener("abort", onAbort);
    // Docker refuses a second removal while the first goes on.
    await removed;
  }
}

/** Also one that is not there, or not yet started. */
async function removeContainer(name: string): Promise<void> {
  await run("docker", ["rm", "--force", "--volumes", name]);
}
