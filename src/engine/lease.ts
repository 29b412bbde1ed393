import { createHash } from "node:crypto";
import type { KubeConfig } from "@kubernetes/client-node";
import { LRUCache } from "lru-cache";
import { RunEngine, type RunEngineOptions, type StartOptions } from "./engine.ts";
import { EngineStoppedError } from "./runs/types.ts";
import { abortable } from "./transport/linked-abort.ts";

export interface EngineLease {
  readonly engine: RunEngine;
  /** Gives the engine back. The last one to do so lets it stop, a minute later. Safe to call twice. */
  release(): void;
}

interface Shared {
  starting: Promise<RunEngine>;
  /** Null until it has started. */
  engine: RunEngine | null;
  /** Ends a start that may otherwise never end: while the server is away, it goes on trying. */
  abort: AbortController;
  users: number;
}

/** Engines in use, by what they were started with. */
const shared = new Map<string, Shared>();

const IDLE_MS = 60_000;

/** Engines without users: the longest idle is stopped first when there are many, and each after a minute. */
const idle = new LRUCache<string, Shared>({
  max: 16,
  ttl: IDLE_MS,
  ttlAutopurge: true,
  dispose: (entry, key, reason) => {
    if (reason === "delete") return;
    if (shared.get(key) === entry) shared.delete(key);
    void stop(entry);
  },
});

/**
 * An engine shared by everyone in this process with the same credentials, namespaces, labels, shard and policy: fifty agents in
 * one namespace have two watches. Started on first use; `transport`, `backoff` and `progressTimeoutMs` are the first caller's.
 * @throws as `RunEngine.start`; the next caller tries anew.
 */
export async function leaseEngine(options: RunEngineOptions & StartOptions): Promise<EngineLease> {
  const key = keyOf(options);
  const { signal, ...engineOptions } = options;
  let entry = shared.get(key);
  // By one of its users, past the lease.
  if (entry?.engine?.isStopped === true) {
    forget(key, entry);
    entry = undefined;
  }
  if (entry === undefined) {
    const abort = new AbortController();
    const starting = RunEngine.start({ ...engineOptions, signal: abort.signal });
    entry = { starting, engine: null, abort, users: 0 };
    shared.set(key, entry);
  }
  idle.delete(key);
  entry.users += 1;
  try {
    const engine = await (signal === undefined ? entry.starting : abortable(entry.starting, signal));
    entry.engine = engine;
    return { engine, release: releaseOnce(key, entry) };
  } catch (error) {
    entry.users -= 1;
    const failed = entry;
    if (signal?.aborted === true) {
      if (entry.users === 0) idle.set(key, entry);
      // Nobody may be left to see how the start ends.
      entry.starting.catch(() => forget(key, failed));
    } else forget(key, entry);
    throw error;
  }
}

/** Stops every shared engine, used or not. For the end of a process, and for tests. */
export async function stopSharedEngines(): Promise<void> {
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

async function stop(entry: Shared): Promise<void> {
  entry.abort.abort(new EngineStoppedError());
  const engine = await entry.starting.catch(() => null);
  await engine
    ?.stop()
    .catch((error: unknown) => process.emitWarning(error instanceof Error ? error : new Error(String(error))));
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
