import type { Timer } from "../clock.ts";
import { isTrue } from "../objects/request-info.ts";
import { type ErrorRate, errorAnswer, htmlAnswer, quotaConflictBody, type RequestFault } from "./fault-answers.ts";
import type { FaultRules } from "./fault-rules.ts";
import type { LogCut, LogFailure } from "./log-faults.ts";
import { fits, type RequestMatch } from "./request-match.ts";
import type { ActiveFault, FaultScope, Stall } from "./rule-set.ts";
import { type ActiveSeatLimit, SeatLimit, type SeatLimitOptions } from "./seat-limit.ts";
import type { FaultTargets, OpenAnswer, Pace, WatchFrameFault } from "./targets.ts";

export interface WatchCut {
  /** Default `end`: a clean end of stream. */
  how?: "end" | "reset";
  match?: RequestMatch;
  /** Share of the watches, 0…1. Default 1. */
  share?: number;
}

/** What `Faults.quotaConflicts` answers unless told otherwise: what a ResourceQuota counts. */
const COUNTED_BY_QUOTAS = ["configmaps", "jobs", "persistentvolumeclaims", "pods", "secrets"];

const closedWatch: Readonly<Record<"end" | "reset" | "unavailable", RequestFault>> = {
  end: { kind: "error", status: 200, headers: {}, contentType: "application/json", body: "" },
  reset: { kind: "reset" },
  unavailable: errorAnswer({ status: 503 }),
};

/**
 * The ways in which the server can fail on demand. Times are milliseconds of the cluster's clock (a cluster with
 * `timeScale: 20` passes 1 000 of them in 50 real ones). Random choices come from a seed.
 */
export class Faults {
  readonly #rules: FaultRules;
  readonly #targets: FaultTargets;
  readonly #random: () => number;
  readonly #timers = new Set<Timer>();

  /** @internal `rules` is what the server asks; `random` the source of its random choices, too. */
  constructor(targets: FaultTargets, rules: FaultRules, random: () => number) {
    this.#targets = targets;
    this.#rules = rules;
    this.#random = random;
  }

  /** Ends open watches. Returns how many. */
  cutWatches({ how = "end", match, share = 1 }: WatchCut = {}): number {
    let cut = 0;
    for (const watch of [...this.#targets.watches()]) {
      if (!fits(match, watch.request) || this.#random() >= share) continue;
      if (how === "reset") watch.exchange.reset();
      else watch.end();
      cut++;
    }
    return cut;
  }

  /** Cuts open and new watches every `everyMs`, give or take half, until removed. `hits` counts the watches. */
  cutWatchesEvery(everyMs: number, options: WatchCut = {}): ActiveFault {
    let timer: Timer | undefined;
    let hits = 0;
    const next = () => {
      timer = this.#later(everyMs * (0.5 + this.#random()), () => {
        hits += this.cutWatches(options);
        next();
      });
    };
    next();
    return {
      get hits() {
        return hits;
      },
      remove: () => timer?.cancel(),
    };
  }

  /**
   * Open watches, and those opened meanwhile, send nothing, and nothing breaks. They go on after `ms`, or when released.
   * `hits` counts the watches.
   */
  stallWatches(ms?: number, match?: RequestMatch): Stall {
    const stall = { match, hits: 0 };
    this.#rules.stalls.add(stall);
    const held: OpenAnswer[] = [];
    for (const watch of this.#targets.watches()) {
      if (!fits(match, watch.request)) continue;
      watch.exchange.stall();
      held.push(watch.exchange);
      stall.hits++;
    }
    const release = () => {
      if (!this.#rules.stalls.delete(stall)) return;
      for (const watch of this.#targets.watches()) {
        if (!this.#rules.isStalled(watch.request)) watch.exchange.release();
      }
      for (const answer of held) answer.release();
    };
    if (ms !== undefined) this.#later(ms, release);
    return stallOf(() => stall.hits, release);
  }

  /**
   * Ends open watches, and lets no other be: each watch request is answered, until `ms` are over or it is released, by an end
   * without a frame (`end`, the default), a reset, or 503. What changed meanwhile is then replayed from the version that a
   * client asks for. `hits` counts the watch requests that were turned away.
   */
  closeWatches(
    ms?: number,
    { how = "end", match }: { how?: "end" | "reset" | "unavailable"; match?: RequestMatch } = {},
  ): Stall {
    const answer = closedWatch[how];
    const rule = this.#rules.watchAnswers.add({ match, answer });
    const release = () => rule.remove();
    this.cutWatches({ how: how === "reset" ? "reset" : "end", ...(match === undefined ? {} : { match }) });
    if (ms !== undefined) this.#later(ms, release);
    return stallOf(() => rule.hits, release);
  }

  /**
   * The bookmark that ends a streaming list comes `ms` after its objects (default: when released), and what changes meanwhile
   * comes before it. A server sends it at once if its cache is fresh, as recorded of 1.36, else from a timer, about a second late;
   * older ones always do the latter. `unmarked`: it comes without the annotation that makes it the end, as from what knows only
   * half of the protocol. For lists that begin from now on.
   */
  delayListEnd(
    ms = Number.POSITIVE_INFINITY,
    options: { match?: RequestMatch; count?: number; unmarked?: boolean } = {},
  ): Stall {
    const fault = { ms, ...options };
    const rule = this.#rules.listEnds.add(fault);
    return stallOf(
      () => rule.hits,
      () => {
        rule.remove();
        for (const watch of this.#targets.watches()) if (watch.listEndFault === fault) watch.endList();
      },
    );
  }

  /** Watches send no bookmark but the end of a streaming list, as from a server without a watch cache. */
  withholdBookmarks(options: FaultScope = {}): ActiveFault {
    return this.#rules.withheldBookmarks.add(options);
  }

  /** Empty lists are answered with `"items": null`, as Go writes a slice that was never made. */
  nullItems(options: FaultScope = {}): ActiveFault {
    return this.#rules.nullItems.add(options);
  }

  /** The history of changes is dropped: watches from older versions and continue tokens are answered with 410. */
  expireVersions(): void {
    this.#targets.expireVersions();
  }

  /** Matching requests are answered with an error, and not acted on. */
  errorRate(options: ErrorRate = {}): ActiveFault {
    return this.#rules.errors.add(options);
  }

  /**
   * As API priority and fairness: so many requests are worked on at a time, so many wait, and what comes then is refused with 429 and
   * `Retry-After`. @throws RangeError naming the bad option
   */
  limitSeats(options: SeatLimitOptions): ActiveSeatLimit {
    const limit = new SeatLimit(options);
    this.#rules.seatLimits.add(limit);
    return {
      get hits() {
        return limit.hits;
      },
      refusals: limit.refusals,
      remove: () => void this.#rules.seatLimits.delete(limit),
    };
  }

  /**
   * Creates are refused with the 409 Conflict of a ResourceQuota, and nothing is stored: what admission answers when many
   * creates count against one quota at the same moment. Default: all creates of what quotas count.
   */
  quotaConflicts({ quota = "compute-resources", ...scope }: FaultScope & { quota?: string } = {}): ActiveFault {
    const match = scope.match ?? { verb: "create", resource: COUNTED_BY_QUOTAS };
    const contentType = "application/json";
    return this.#rules.errors.add({ ...scope, match, status: 409, body: quotaConflictBody(quota), contentType });
  }

  /** Matching requests are not answered, and not acted on: the stream is reset. */
  resetRequests(options: FaultScope = {}): ActiveFault {
    return this.#rules.resets.add(options);
  }

  /** Matching requests are acted on, and the stream is reset before any byte of the answer. */
  loseAnswers(options: FaultScope = {}): ActiveFault {
    return this.#rules.lostAnswers.add(options);
  }

  /**
   * Matching requests wait before the server looks at them, for `ms`, or until released; `remove` lets those that wait go on
   * waiting. One whose client has gone by then is dropped, as a server does that cancels it; with `outlivesClient` it is acted on
   * all the same, as when etcd had it already.
   */
  delayRequests(ms: number, options: FaultScope & { outlivesClient?: boolean } = {}): Stall {
    const { promise: released, resolve } = Promise.withResolvers<void>();
    const rule = this.#rules.delays.add({ ...options, ms, released });
    const release = () => {
      rule.remove();
      resolve();
    };
    return Object.assign(rule, { release });
  }

  /** Destroys open connections with a TCP reset, all or so many of them. Returns how many. */
  resetConnections(count = Number.POSITIVE_INFINITY): number {
    return this.#targets.resetConnections(count);
  }

  /** GOAWAY on every HTTP/2 connection: new requests need a new one, open streams go on. Returns how many. */
  goAway(): number {
    return this.#targets.goAway();
  }

  /**
   * As SIGSTOP to the server: nothing is read, nothing written, no ping answered, and nothing breaks. Goes on after `ms`,
   * or when released.
   */
  freeze(ms?: number): Stall {
    const unfreeze = this.#targets.freeze();
    let frozen = true;
    const release = () => {
      if (frozen) unfreeze();
      frozen = false;
    };
    if (ms !== undefined) this.#later(ms, release);
    return stallOf(() => 1, release);
  }

  /** New matching answers leave a few bytes at a time. */
  slowBytes({ bytes = 256, everyMs = 50, ...scope }: Partial<Pace> & FaultScope = {}): ActiveFault {
    return this.#rules.paces.add({ ...scope, bytes, everyMs });
  }

  /** The next matching watch (one that is open, else the next to open) sends something wrong, once. */
  nextWatch(frame: WatchFrameFault, { match }: { match?: RequestMatch } = {}): ActiveFault {
    for (const watch of this.#targets.watches()) {
      if (!fits(match, watch.request)) continue;
      watch.damage(frame);
      return { hits: 1, remove: () => {} };
    }
    return this.#rules.watchFrames.add({ frame, match, count: 1 });
  }

  /** The next matching watch request is answered with 200 (or `status`) and a page of HTML, as by a proxy's login. */
  htmlInsteadOfWatch({ status = 200, count = 1, ...scope }: FaultScope & { status?: number } = {}): ActiveFault {
    return this.#rules.watchAnswers.add({ ...scope, count, answer: htmlAnswer(status) });
  }

  /**
   * New log answers are cut at a byte (in the middle of a line, or of a character), until removed.
   * @throws TypeError without `atByte` and `everyBytes`.
   */
  cutLogs(options: LogCut): ActiveFault {
    if (options.atByte === undefined && options.everyBytes === undefined) {
      throw new TypeError("cutLogs: give atByte or everyBytes (a number of bytes)");
    }
    return this.#rules.logCuts.add(options);
  }

  /**
   * Ends the logs that are being followed. Returns how many. `reset` also breaks reads without `follow`; the clean `end`
   * leaves them alone, for there it means that the log ends, and no client could tell.
   */
  cutOpenLogs(options: { how?: "end" | "reset"; match?: RequestMatch } = {}): number {
    let cut = 0;
    for (const { request, exchange } of [...this.#targets.logs()]) {
      if (!fits(options.match, request)) continue;
      if (options.how === "reset") exchange.reset();
      else if (isTrue(request.query.get("follow"))) exchange.end();
      else continue;
      cut++;
    }
    return cut;
  }

  /** Starts a new log file for the container, as at 10 MiB: what was not read is lost. */
  rotateLogs(namespace: string, podName: string, container: string): void {
    this.#targets.rotateLogs(namespace, podName, container);
  }

  /** The log endpoint answers as one whose kubelet is down, has just started, or has not started the container. */
  failLogs(options: LogFailure): ActiveFault {
    return this.#rules.logFailures.add(options);
  }

  /** Ends all faults that go on. */
  clear(): void {
    this.#rules.clear();
    for (const watch of this.#targets.watches()) {
      watch.exchange.release();
      watch.endList();
    }
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  #later(ms: number, run: () => void): Timer {
    const timer = this.#targets.clock.setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
    return timer;
  }
}

function stallOf(hits: () => number, release: () => void): Stall {
  return {
    get hits() {
      return hits();
    },
    release,
    remove: release,
  };
}
