import { LRUCache } from "lru-cache";
import type { Pod } from "../../src/engine/index.ts";
import type { Frame } from "../e2e/support/recorder.ts";
import type { Subject } from "./hooks.ts";
import type { AgentTruth, ContainerEnd } from "./messages.ts";

const CONTAINER = "claude";
/** What comes late of an agent that was forgotten goes in the end. */
const KEPT = 5_000;
/** Kubelets write whole seconds, and nodes have clocks of their own. */
const OVERLAP_MS = 3_000;

interface Seen {
  readonly agentId: string;
  readonly jobUid: string;
  readonly runId: string;
  startedAt: number | null;
  end: ContainerEnd | null;
  finishedAt: number | null;
  subject: Subject | null;
}

/** What is true of agents on any cluster, as its pods say it: the count of lines stands in the termination message. */
export class Witness {
  /** By uid of the pod. */
  readonly #pods = new LRUCache<string, Seen>({ max: KEPT });
  /** Run ids with which Jobs were created; null where the Job was first seen with another run's. By uid of the Job. */
  readonly #runIds = new LRUCache<string, { readonly agentId: string; readonly runId: string | null }>({ max: KEPT });
  readonly #struck = new LRUCache<string, string[]>({ max: KEPT });
  readonly #rotated = new Set<string>();
  /** Containers whose end was never shown: their pod was deleted while the watch was down. */
  unseen = 0;

  see({ resource, type, object }: Frame): void {
    if (object === undefined) return;
    const { uid, labels = {}, annotations = {} } = object.metadata;
    const agentId = labels["paperclip.io/agent-id"];
    if (agentId === undefined) return;
    const label = labels["paperclip.io/run-id"] ?? "";
    if (resource === "jobs") {
      const isAdopted = annotations["paperclip.io/adopted-at"] !== undefined;
      if (!this.#runIds.has(uid)) this.#runIds.set(uid, { agentId, runId: isAdopted ? null : label });
      return;
    }
    const pod = object as unknown as Pod;
    const jobUid = pod.metadata.ownerReferences?.[0]?.uid ?? "";
    const seen: Seen = this.#pods.get(uid) ?? {
      agentId,
      jobUid,
      runId: label,
      startedAt: null,
      end: null,
      finishedAt: null,
      subject: null,
    };
    this.#pods.set(uid, seen);
    const { running, terminated } = pod.status.containerStatuses?.find(({ name }) => name === CONTAINER)?.state ?? {};
    const startedAt = Date.parse(running?.startedAt ?? terminated?.startedAt ?? "");
    if (Number.isFinite(startedAt) && startedAt > 0) seen.startedAt = startedAt;
    const node = pod.spec.nodeName ?? "";
    seen.subject = running === undefined ? null : { node, pod: pod.metadata.name, container: CONTAINER };
    if (terminated !== undefined && seen.end === null) {
      const written = /^\d+$/.exec(terminated.message ?? "")?.[0];
      seen.end = {
        jobUid,
        runId: label,
        exitCode: terminated.exitCode,
        reason: terminated.reason ?? "",
        ran: seen.startedAt !== null,
        written: written === undefined ? null : Number(written),
      };
      seen.finishedAt = Date.parse(terminated.finishedAt ?? "");
    }
    for (const { type: condition, status } of pod.status.conditions ?? []) {
      if (condition === "DisruptionTarget" && status === "True") this.#strike(agentId, "its pod was disrupted");
    }
    if (type === "DELETED") {
      if (seen.end === null && seen.startedAt !== null) this.unseen += 1;
      seen.subject = null;
    }
  }

  /** One of the containers that run. */
  pick(share: number): Subject | null {
    const running = [...this.#pods.values()].flatMap(({ subject }) => (subject === null ? [] : [subject]));
    return running[Math.floor(share * running.length)] ?? null;
  }

  harm(what: string, harms: "node" | "pod" | "nothing", { node, pod }: Subject): void {
    for (const { agentId, subject } of this.#pods.values()) {
      if (subject?.pod === pod && what === "log rotated") this.#rotated.add(agentId);
      else if (subject !== null && (harms === "node" ? subject.node === node : subject.pod === pod)) {
        this.#strike(agentId, what);
      }
    }
  }

  #strike(agentId: string, what: string): void {
    const struck = this.#struck.get(agentId) ?? [];
    this.#struck.set(agentId, struck);
    if (!struck.includes(what)) struck.push(what);
  }

  truthOf(agentId: string): AgentTruth {
    const pods = [...this.#pods.values()].filter((seen) => seen.agentId === agentId);
    const started = pods.filter(({ startedAt }) => startedAt !== null);
    const begun = started.flatMap(({ jobUid }) => {
      const runId = this.#runIds.get(jobUid)?.runId ?? null;
      return runId === null ? [] : [{ runId, jobUid }];
    });
    return {
      ends: pods.flatMap(({ end }) => (end === null ? [] : [end])),
      begun,
      overlap: overlapOf(started),
      rotatedTo: this.#rotated.has(agentId) ? Number.MAX_SAFE_INTEGER : 0,
      rotations: [],
      endedBlind: [],
      struck: this.#struck.get(agentId) ?? [],
      isComplete: false,
    };
  }

  forget(agentId: string): void {
    for (const [uid, seen] of this.#pods) if (seen.agentId === agentId) this.#pods.delete(uid);
    for (const [uid, job] of this.#runIds) if (job.agentId === agentId) this.#runIds.delete(uid);
    this.#struck.delete(agentId);
    this.#rotated.delete(agentId);
  }
}

/** Two containers of one agent that ran at once, by the times of their kubelets. */
function overlapOf(pods: readonly Seen[]): string | null {
  const known = pods.filter(({ finishedAt }) => finishedAt !== null);
  for (const one of known) {
    for (const other of known) {
      if (one === other || (one.startedAt ?? 0) > (other.startedAt ?? 0)) continue;
      if ((one.finishedAt ?? 0) - (other.startedAt ?? 0) > OVERLAP_MS) return JSON.stringify([one, other]);
    }
  }
  return null;
}
