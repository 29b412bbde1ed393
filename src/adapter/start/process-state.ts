import { LRUCache } from "lru-cache";
import { abortable } from "../../engine/index.ts";
import type { ProcessLease } from "./lease.ts";

/**
 * What must exist once per process. The host reloads an adapter by importing its file again, and the old copy's runs go on:
 * both must see the same locks. Hence on `globalThis`.
 */
interface ProcessState {
  /** Uids of the Jobs that a run of this process follows now. */
  readonly active: Set<string>;
  /** Tails of the queues of runs that want to start, by agent. */
  readonly locks: Map<string, Promise<void>>;
  /** Who holds these locks: ids of runs. */
  readonly holders: Map<string, string>;
  /** Jobs whose result was handed to the host, by uid. `undeleted`: they were to be deleted after that, which failed. */
  readonly collected: LRUCache<string, "handed out" | "undeleted">;
  /** Jobs that were created for nothing and could not be deleted, by agent and name. */
  readonly undeleted: LRUCache<string, Map<string, JobIdentity>>;
  /** Leases that this process holds. */
  readonly leases: Set<ProcessLease>;
  /** When orphaned Secrets were last looked for, by cluster and namespace, on the monotonic clock. */
  readonly swept: LRUCache<string, number>;
}

const KEY = Symbol.for("k8s-run-informer.adapter.v1");

export function processState(): ProcessState {
  const holder = globalThis as { [KEY]?: ProcessState };
  const state = holder[KEY];
  // An older copy of this file may have made it, without what came later.
  if (state?.holders !== undefined) return state;
  holder[KEY] = {
    active: new Set(),
    locks: new Map(),
    holders: new Map(),
    collected: new LRUCache({ max: 10_000 }),
    undeleted: new LRUCache({ max: 1_000 }),
    swept: new LRUCache({ max: 1_000 }),
    leases: new Set(),
    ...state,
  };
  return holder[KEY];
}

/** A Job by its uid; by the mark of its create request where that was not answered. */
export type JobIdentity = { readonly uid: string } | { readonly launchId: string };

/** Names an agent of one cluster and namespace. */
export function agentKeyOf(server: string, namespace: string, agentLabel: string): string {
  return JSON.stringify([server, namespace, agentLabel]);
}

/**
 * One at a time for one key, in the order of asking. Resolves with the function that lets the next one go.
 * @param onWait called at once when somebody is before
 * @throws the signal's reason; the place in the queue is given up.
 */
export async function acquireLock(key: string, signal: AbortSignal, onWait?: () => void): Promise<() => void> {
  signal.throwIfAborted();
  const { locks } = processState();
  if (locks.has(key)) onWait?.();
  const before = locks.get(key) ?? Promise.resolve();
  let open: () => void = () => undefined;
  const mine = new Promise<void>((resolve) => {
    open = resolve;
  });
  const tail = before.then(() => mine);
  locks.set(key, tail);
  const release = () => {
    open();
    if (locks.get(key) === tail) locks.delete(key);
  };
  try {
    await abortable(before, signal);
  } catch (error) {
    // Those behind wait for `before` all the same: `tail` is after it.
    open();
    void tail.then(() => {
      if (locks.get(key) === tail) locks.delete(key);
    });
    throw error;
  }
  return release;
}
