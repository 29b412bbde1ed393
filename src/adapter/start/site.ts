import {
  Cluster,
  type KubeConfig,
  leaseEngine,
  type RunEngine,
  type RunPolicy,
  type Shard,
  shardLabels,
} from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import { loadKubeConfig } from "../config/kubeconfig.ts";
import { BootstrapError, ConfigError } from "../errors.ts";
import { LabelKey } from "../job/names.ts";
import { ownPodName, readSelfPod, type SelfPod, SelfPodError } from "../job/self-pod.ts";
import { bounded } from "../wait.ts";
import { Ownership } from "./ownership.ts";

/** Where a run takes place: cluster, namespace, image, and what is inherited from the server's own pod. */
export interface Site {
  readonly engine: RunEngine;
  readonly namespace: string;
  readonly image: string;
  readonly selfPod: SelfPod | null;
  readonly ownership: Ownership;
  /**
   * Gives the shared engine back. Never rejects.
   * @param isLast the host takes its runs from this server: with the last one its Lease ends
   */
  close(isLast: boolean): Promise<void>;
}

/**
 * Of the server's own environment: its name among several servers that share a namespace. Each then watches its own runs only
 * (docs/scale.md).
 */
export const SHARD_VARIABLE = "K8S_RUN_INFORMER_SHARD";

/** @throws ConfigError when the variable holds no label value */
export function shardOf(env: NodeJS.ProcessEnv): { shard?: Shard } {
  const value = env[SHARD_VARIABLE]?.trim() ?? "";
  if (value === "") return {};
  const shard = { value };
  try {
    shardLabels(shard);
  } catch {
    throw new ConfigError(SHARD_VARIABLE, value, 'a label value: 1 to 63 letters, digits, "-", "_", "."');
  }
  return { shard };
}

/** How long the engine's first lists may take: an API server that restarts is back by then. */
export const CONNECT_TIMEOUT_MS = 30_000;

/**
 * How long a scheduled pod may take to start, image pull included. A volume that cannot be mounted shows in events only, so
 * without a limit such a run would wait without end.
 */
const START_TIMEOUT_MS = 10 * 60_000;

/**
 * The shared engine of the run's cluster and namespace (two watches, however many runs), and the own pod.
 * @throws ConfigError, SelfPodError, ApiError, BootstrapError; the signal's reason
 */
export async function openSite(input: {
  definition: { readonly type: string };
  config: BaseConfig;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
  connectTimeoutMs: number;
}): Promise<Site> {
  const { definition, config, env, signal, connectTimeoutMs } = input;
  const kubeConfig = loadKubeConfig(config, env);
  const namespace = config.namespace ?? (await ownPodName(env)).namespace;
  let isLate = false;
  const late = () => {
    isLate = true;
    return new Error("late");
  };
  const lease = await bounded({ signal, ms: connectTimeoutMs, late }, (limited) =>
    leaseEngine({
      kubeConfig,
      namespace,
      labels: { [LabelKey.adapterType]: definition.type },
      ...shardOf(env),
      signal: limited,
    }),
  ).catch(async (error: unknown) => {
    throw isLate ? await whyUnreachable(kubeConfig, namespace, connectTimeoutMs) : error;
  });
  try {
    const { engine } = lease;
    const selfPod = await readSelfPod(engine.cluster, config, env, signal);
    const image = config.image ?? selfPod?.image;
    if (image === undefined) throw new SelfPodError("No image is known for the Job.", ["image"]);
    const ownership = await Ownership.of(engine, { namespace, env, selfPod, signal });
    const endUse = ownership.use();
    const close = async (isLast: boolean) => {
      await endUse(isLast);
      lease.release();
    };
    return { engine, namespace, image, selfPod, ownership, close };
  } catch (error) {
    lease.release();
    throw error;
  }
}

/** The engine only says that it is still trying: ask once, for the answer's own words. */
async function whyUnreachable(kubeConfig: KubeConfig, namespace: string, timeoutMs: number): Promise<unknown> {
  const cluster = new Cluster({ kubeConfig, retry: { maxAttempts: 1 } });
  try {
    await cluster.json({ path: "/version", timeoutMs: 5_000 });
  } catch (error) {
    return error;
  } finally {
    await cluster.close();
  }
  return new BootstrapError({
    code: "k8s_api_unreachable",
    message: `The API server at ${cluster.server} answers, but Jobs and pods of namespace ${namespace} could not be listed within ${timeoutMs / 1000} s.`,
    family: "transient_upstream",
  });
}

/** How patient a run of this agent is. Policies belong to runs, so that all agents of a namespace share two watches. */
export function policyOf(config: BaseConfig): Partial<RunPolicy> {
  return {
    imagePullGraceMs: config.imagePullGraceSec * 1000,
    configErrorGraceMs: config.configErrorGraceSec * 1000,
    scheduleTimeoutMs: config.scheduleTimeoutSec * 1000,
    startTimeoutMs: START_TIMEOUT_MS,
  };
}
