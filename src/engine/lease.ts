import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import { RunEngine } from "./engine.ts";
import type { RunEngineOptions, StartOptions } from "./engine-types.ts";
import { asError } from "./transport/as-error.ts";
import type { KubeConfig } from "./transport/index.ts";

export interface EngineLease {
  readonly engine: RunEngine;
  /** Gives the engine back. The last one to do so lets it stop, a minute later. Safe to call twice. */
  release(): void;
}

interface Shared {
  engine: RunEngine;
  users: number;
}

/** Engines in use, by what they were started with. Of this copy of the code: one that the host reloaded starts engines of its own. */
const shared = new Map<string, Shared>();

/** How the shared engines of every copy of this code are stopped. */
const EVERYWHERE = Symbol.for("k8s-run-informer.shared-engines");

function stopsOfAllCopies(): Set<() => Promise<void>> {
  const holder = globalThis as { [EVERYWHERE]?: Set<() => Promise<void>> };
  holder[EVERYWHERE] ??= new Set();
  return holder[EVERYWHERE];
}

const IDLE_MS = 60_000;

/** Engines without users: the longest idle is stopped first when there are many, and each after a minute. */
const idle = new LRUCache<string, Shared>({
  max: 16,
  ttl: IDLE_MS,
  ttlAutopurge: true,
  dispose: (entry, key, reason) => {
    if (reason === "delete") return;
    if (shared.get(key) === entry) shared.delete(key);
    stop(entry);
  },
});

/**
 * An engine shared by everyone in this process with the same credentials, namespaces, labels, shard and policy: fifty agents in
 * one namespace have two watches. Started on first use; `transport`, `backoff` and `progressTimeoutMs` are the first caller's.
 * @throws as `RunEngine.start`; the next caller tries again.
 */
export async function leaseEngine(options: RunEngineOptions & StartOptions): Promise<EngineLease> {
  const key = keyOf(options);
  let entry = shared.get(key);
  // Stopped by one of its users, past the lease.
  if (entry?.engine.isStopped === true) {
    forget(key, entry);
    entry = undefined;
  }
  if (entry === undefined) {
    entry = { engine: RunEngine.create(options), users: 0 };
    shared.set(key, entry);
    stopsOfAllCopies().add(stopHere);
  }
  idle.delete(key);
  entry.users += 1;
  const release = releaseOnce(key, entry);
  try {
    await entry.engine.synced(options.signal);
    return { engine: entry.engine, release };
  } catch (error) {
    // Refused: the next caller may have been granted the right meanwhile, and asks at once.
    if (options.signal?.aborted !== true) {
      forget(key, entry);
      stop(entry);
    }
    release();
    throw error;
  }
}

/** Stops every shared engine of this process, used or not, whichever entry of the package started it. For its end, and for tests. */
export async function stopSharedEngines(): Promise<void> {
  const stops = stopsOfAllCopies();
  await Promise.all([...stops].map((stopCopy) => stopCopy()));
}

async function stopHere(): Promise<void> {
  stopsOfAllCopies().delete(stopHere);
  const entries = [...shared.values()];
  shared.clear();
  for (const key of [...idle.keys()]) idle.delete(key);
  await Promise.all(entries.map(stop));
}

function forget(key: string, entry: Shared): void {
  if (shared.get(key) === entry) shared.delete(key);
  idle.delete(key);
}

function releaseOnce(key: string, entry: Shared): () => void {
  let isReleased = false;
  return () => {
    if (isReleased) return;
    isReleased = true;
    entry.users -= 1;
    if (entry.users === 0 && shared.get(key) === entry) idle.set(key, entry);
  };
}

function stop({ engine }: Shared): Promise<void> {
  return engine.stop().catch((error: unknown) => process.emitWarning(asError(error)));
}

function keyOf({ kubeConfig, namespace, labels, shard, policy }: RunEngineOptions): string {
  const scope = {
    namespace: namespace ?? null,
    labels: Object.entries(labels ?? {}).sort(),
    shard: [shard?.label, shard?.value],
    policy: Object.entries(policy ?? {}).sort(),
  };
  return createHash("sha256")
    .update(JSON.stringify([identityOf(kubeConfig), scope]))
    .digest("base64");
}

/** Whose credentials, on which cluster. Hashed at once: it holds secrets. */
function identityOf(kubeConfig: KubeConfig): unknown {
  return [
    kubeConfig.getCurrentCluster(),
    kubeConfig.getCurrentUser(),
    kubeConfig.getContextObject(kubeConfig.getCurrentContext())?.namespace,
  ];
}
