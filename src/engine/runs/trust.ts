import { compareVersions } from "../informer/store.ts";

/** What the two watches of a run's namespace are known to have told: how far its state can be trusted. Times as in `RunState`. */
export interface Trust {
  isJobsOpen: boolean;
  isPodsOpen: boolean;
  /** Since when both are open. Null: one of them is not. */
  openSince: number | null;
  /** Since when one of them is not. Null: both are open. */
  lostSince: number | null;
  /** The server answers, and refuses to open one that is lost (401, 403). */
  isRefused: boolean;
  /** Until when both had told all that happened: a watch was lost then, and both had caught up before. */
  completeUntil: number;
  /** Up to which version the pods' watch has told all, and when it last told something. Null: not known. */
  podsTold: { version: string; at: number } | null;
}

export interface WatchChange {
  watch: "jobs" | "pods";
  type: "open" | "lost";
  /** Of `lost`: the server refuses to open it. */
  isRefused?: boolean;
  at: number;
}

/** Of a recording that says nothing of its watches. */
export const FULL_TRUST: Trust = {
  isJobsOpen: true,
  isPodsOpen: true,
  openSince: Number.NEGATIVE_INFINITY,
  lostSince: null,
  isRefused: false,
  completeUntil: Number.NEGATIVE_INFINITY,
  podsTold: null,
};

/** Before either watch was opened. */
export function noTrust(at: number): Trust {
  return { ...FULL_TRUST, isJobsOpen: false, isPodsOpen: false, openSince: null, lostSince: at };
}

/** After a watch came back, how long what it missed may take to arrive. */
export const CATCH_UP_MS = 2_000;

/** Pure: returns the same object when nothing changes. */
export function reduceTrust(trust: Trust, { watch, type, isRefused = false, at }: WatchChange): Trust {
  const isOpen = type === "open";
  const isKnown = (watch === "jobs" ? trust.isJobsOpen : trust.isPodsOpen) === isOpen;
  if (isKnown && (isOpen || isRefused === trust.isRefused)) return trust;
  const isJobsOpen = watch === "jobs" ? isOpen : trust.isJobsOpen;
  const isPodsOpen = watch === "pods" ? isOpen : trust.isPodsOpen;
  const { openSince } = trust;
  const hadCaughtUp = openSince !== null && at - openSince >= CATCH_UP_MS;
  const areBothOpen = isJobsOpen && isPodsOpen;
  return {
    ...trust,
    isJobsOpen,
    isPodsOpen,
    openSince: areBothOpen ? at : null,
    lostSince: areBothOpen ? null : (trust.lostSince ?? at),
    isRefused: !areBothOpen && (isOpen ? trust.isRefused : isRefused),
    completeUntil: hadCaughtUp ? at : trust.completeUntil,
  };
}

/** The same object as `known` when both say the same. */
export function withPodsTold(known: Trust, trust: Trust, podsTold: Trust["podsTold"]): Trust {
  const isSame =
    known.isJobsOpen === trust.isJobsOpen &&
    known.isPodsOpen === trust.isPodsOpen &&
    known.openSince === trust.openSince &&
    known.isRefused === trust.isRefused &&
    known.podsTold?.at === podsTold?.at &&
    known.podsTold?.version === podsTold?.version;
  return isSame ? known : { ...trust, podsTold };
}

/** Both watches are open and have had time to tell what they missed. */
export function isComplete({ openSince }: Trust, now: number, catchUpMs = CATCH_UP_MS): boolean {
  return openSince !== null && now - openSince >= catchUpMs;
}

/**
 * Is the pods' watch still telling what happened before this version of a Job? Versions of resources that share an etcd are
 * ordered, watches are not: on a busy server the pods' may be seconds behind the Jobs'. One that is open and has told nothing for
 * `quietMs` has nothing left to tell; one that is lost may have.
 */
export function arePodsBehind({ podsTold, isPodsOpen }: Trust, version: string, quietMs: number, now: number): boolean {
  if (podsTold === null || !/^\d+$/.test(version)) return false;
  return compareVersions(podsTold.version, version) < 0 && (!isPodsOpen || now - podsTold.at < quietMs);
}
