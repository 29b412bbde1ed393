import {
  Cluster,
  type EngineLease,
  isRetryable,
  type KubeConfig,
  leaseEngine,
  type RunEngine,
  type RunEngineOptions,
  type RunPolicy,
  type Shard,
  shardLabels,
} from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import { loadKubeConfig } from "../config/kubeconfig.ts";
import { BootstrapError, ConfigError } from "../errors.ts";
import { LabelKey } from "../job/names.ts";
import { ownPodName, readSelfPod, type SelfPod, SelfPodError } from "../job/self-pod.ts";
import { bounded, LateError } from "../wait.ts";
import { type Patience, patiently, waitingText } from "./outage.ts";
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

/** How long the engine's first lists may take before the server is asked what it is about. */
export const CONNECT_TIMEOUT_MS = 10_000;

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
  patience: Patience;
  connectTimeoutMs: number;
}): Promise<Site> {
  const { definition, config, env, patience, connectTimeoutMs } = input;
  const { signal } = patience;
  const kubeConfig = loadKubeConfig(config, env);
  const namespace = config.namespace ?? (await ownPodName(env)).namespace;
  const labels = { [LabelKey.adapterType]: definition.type };
  const lease = await leasePatiently({ kubeConfig, namespace, labels, ...shardOf(env) }, patience, connectTimeoutMs);
  try {
    const { engine } = lease;
    const selfPod = await patiently(engine, patience, () => readSelfPod(engine.cluster, config, env, signal));
    const image = config.image ?? selfPod?.image;
    if (image === undefined) throw new SelfPodError("No image is known for the Job.", ["image"]);
    const ownership = await patiently(engine, patience, () =>
      Ownership.of(engine, { namespace, env, selfPod, signal }),
    );
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

/** The engine goes on trying to connect between two looks at it, so that all who wait for it begin in the moment it is there. */
async function leasePatiently(
  options: RunEngineOptions & { readonly namespace: string },
  { ms, signal, askedAt, tell }: Patience,
  connectTimeoutMs: number,
): Promise<EngineLease> {
  let isTold = false;
  while (true) {
    try {
      return await bounded({ signal, ms: connectTimeoutMs }, (limited) => leaseEngine({ ...options, signal: limited }));
    } catch (error) {
      if (!(error instanceof LateError)) throw error;
    }
    const why = await whyUnreachable(options.kubeConfig, options.namespace, connectTimeoutMs);
    signal.throwIfAborted();
    const mayPass = isRetryable(why) || why instanceof BootstrapError;
    if (!mayPass || performance.now() - askedAt > ms) throw why;
    if (!isTold) tell(waitingText(why, ms));
    isTold = true;
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
