import type { Exchange, Pace } from "../api/exchange.ts";
import { isTrue, type RequestInfo } from "../api/request-info.ts";
import type { ListEndFault, WatchFrameFault, WatchStream } from "../api/watch-stream.ts";
import type { Clock, Timer } from "../clock.ts";
import { StatusError } from "../objects/status-error.ts";
import { seededRandom } from "../random.ts";

/** Which requests a fault is for. Every given field must fit; none given: all. */
export interface RequestMatch {
  /** `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection` */
  verb?: string | readonly string[];
  /** `jobs`, `pods`, `pods/log`, … */
  resource?: string | readonly string[];
  namespace?: string;
  name?: string;
  /** Anything else. */
  where?: (request: RequestInfo) => boolean;
}

export interface ErrorRate {
  /** Share of the matching requests, 0…1. Default 1. */
  rate?: number;
  /** HTTP status. Default 500. */
  status?: number;
  reason?: string;
  message?: string;
  /** Sent as `Retry-After` and in the details. */
  retryAfterSeconds?: number;
  match?: RequestMatch;
  /** After this many errors the fault ends. */
  count?: number;
  /** An answer that is no Status, as a proxy sends it. */
  body?: string;
  contentType?: string;
}

export interface LogCut {
  /** Cut each log answer after so many bytes. */
  atByte?: number;
  /** Cut each log answer after a random number of bytes between 1 and twice this (mean: this). */
  everyBytes?: number;
  /** Default `end`: a clean end of stream, as from a kubelet that restarts. */
  how?: "end" | "reset" | "random";
  match?: RequestMatch;
  /** After this many cuts the fault ends. */
  count?: number;
  /** Cut only log answers with `follow=true`. Default true. Without `follow` a clean end means that the log ends there. */
  followOnly?: boolean;
}

export interface LogFailure {
  /** `unreachable`: 500, the kubelet is down; `notFound`: 404 though the pod runs, just after a kubelet start; `waiting`: 400. */
  kind: "unreachable" | "notFound" | "waiting";
  rate?: number;
  count?: number;
  match?: RequestMatch;
}

export interface ActiveFault {
  /** Ends the fault. */
  remove(): void;
}

export interface Stall extends ActiveFault {
  /** Lets everything go that was held back. Same as `remove`. */
  release(): void;
}

/** What the server makes reachable for faults. */
export interface FaultTargets {
  clock: Clock;
  watches(): Iterable<WatchStream>;
  logs(): Iterable<{ request: RequestInfo; exchange: Exchange }>;
  expireVersions(): void;
  /** Destroys open connections with a TCP reset; returns how many. */
  resetConnections(count: number): number;
  /** HTTP/2 GOAWAY on every connection: streams that are open go on. */
  goAway(): number;
  rotateLogs(namespace: string, podName: string, container: string): void;
  /** Stops reading from and writing to every connection, as SIGSTOP does. Returns the undo. */
  freeze(): () => void;
}

interface Rule<T> {
  readonly fault: T;
  left: number;
}

export type RequestFault =
  | { kind: "error"; status: number; headers: Record<string, string>; contentType: string; body: string }
  | { kind: "reset" };

/**
 * The ways in which the server can fail on demand. Times are milliseconds of the cluster's clock (a cluster with
 * `timeScale: 20` passes 1 000 of them in 50 real ones). Random choices come from a seed.
 */
export class Faults {
  readonly #targets: FaultTargets;
  readonly #random: () => number;
  readonly #errors = new Set<Rule<ErrorRate>>();
  readonly #resets = new Set<Rule<{ rate: number; match: RequestMatch | undefined }>>();
  readonly #delays = new Set<Rule<{ ms: number; match: RequestMatch | undefined }>>();
  readonly #paces = new Set<Rule<Pace & { match: RequestMatch | undefined }>>();
  readonly #logCuts = new Set<Rule<LogCut>>();
  readonly #logFailures = new Set<Rule<LogFailure>>();
  readonly #watchFaults = new Set<Rule<{ fault: WatchFrameFault; match: RequestMatch | undefined }>>();
  readonly #watchAnswers = new Set<Rule<{ answer: RequestFault; match: RequestMatch | undefined }>>();
  readonly #listEnds = new Set<Rule<ListEndFault & { match: RequestMatch | undefined }>>();
  readonly #stalls = new Set<{ match: RequestMatch | undefined }>();
  readonly #timers = new Set<Timer>();

  constructor(targets: FaultTargets, seed: number) {
    this.#targets = targets;
    this.#random = seededRandom(seed);
  }

  /** Ends open watches: `end` (default) with a clean end of stream, `reset` with an error. Returns how many. */
  cutWatches(options: { how?: "end" | "reset"; match?: RequestMatch; share?: number } = {}): number {
    let cut = 0;
    for (const watch of [...this.#targets.watches()]) {
      if (!fits(options.match, watch.request) || this.#random() >= (options.share ?? 1)) continue;
      if (options.how === "reset") watch.exchange.reset();
      else watch.end();
      cut++;
    }
    return cut;
  }

  /** Cuts open and new watches every `everyMs`, give or take half, until removed. */
  cutWatchesEvery(
    everyMs: number,
    options: { how?: "end" | "reset"; match?: RequestMatch; share?: number } = {},
  ): ActiveFault {
    let timer: Timer | undefined;
    const next = () => {
      timer = this.#later(everyMs * (0.5 + this.#random()), () => {
        this.cutWatches(options);
        next();
      });
    };
    next();
    return { remove: () => timer?.cancel() };
  }

  /**
   * Open watches, and those opened meanwhile, send nothing, and nothing breaks. They go on after `ms`, or when released.
   */
  stallWatches(ms?: number, match?: RequestMatch): Stall {
    const stall = { match };
    this.#stalls.add(stall);
    const held: Exchange[] = [];
    for (const watch of this.#targets.watches()) {
      if (!fits(match, watch.request)) continue;
      watch.exchange.stall();
      held.push(watch.exchange);
    }
    const release = () => {
      if (!this.#stalls.delete(stall)) return;
      for (const watch of this.#targets.watches()) if (!this.#isStalled(watch.request)) watch.exchange.release();
      for (const exchange of held) exchange.release();
    };
    if (ms !== undefined) this.#later(ms, release);
    return { release, remove: release };
  }

  /**
   * The bookmark that ends a streaming list comes `ms` after its objects (default: when released), and what changes meanwhile
   * comes before it. A server sends it at once if its cache is fresh, as recorded of 1.36, else from a timer, about a second late;
   * older ones always do the latter. For lists that begin from now on.
   */
  delayListEnd(ms = Number.POSITIVE_INFINITY, options: { match?: RequestMatch; count?: number } = {}): Stall {
    const fault = { ms, match: options.match };
    const rule = add(this.#listEnds, fault, options.count);
    const release = () => {
      rule.remove();
      for (const watch of this.#targets.watches()) if (watch.listEndFault === fault) watch.endList();
    };
    return { release, remove: release };
  }

  /** The history of changes is dropped: watches from older versions and continue tokens are answered with 410. */
  expireVersions(): void {
    this.#targets.expireVersions();
  }

  /** Matching requests are answered with an error, and not acted on. */
  errorRate(options: ErrorRate = {}): ActiveFault {
    checkRate("errorRate", options.rate);
    return add(this.#errors, options, options.count);
  }

  /** Matching requests are not answered: the stream is reset. `acted`: false, the server did nothing. */
  resetRequests(options: { rate?: number; match?: RequestMatch; count?: number } = {}): ActiveFault {
    checkRate("resetRequests", options.rate);
    return add(this.#resets, { rate: options.rate ?? 1, match: options.match }, options.count);
  }

  /** Matching requests wait before the server looks at them. */
  delayRequests(ms: number, options: { match?: RequestMatch; count?: number } = {}): ActiveFault {
    return add(this.#delays, { ms, match: options.match }, options.count);
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
    return { release, remove: release };
  }

  /** New matching answers leave a few bytes at a time. */
  slowBytes(options: Partial<Pace> & { match?: RequestMatch; count?: number } = {}): ActiveFault {
    const { bytes = 256, everyMs = 50, match, count } = options;
    return add(this.#paces, { bytes, everyMs, match }, count);
  }

  /** The next matching watch (one that is open, else the next to open) sends something wrong, once. */
  nextWatch(fault: WatchFrameFault, options: { match?: RequestMatch; openOnly?: boolean } = {}): ActiveFault {
    for (const watch of this.#targets.watches()) {
      if (!fits(options.match, watch.request)) continue;
      watch.damage(fault);
      return { remove: () => {} };
    }
    return add(this.#watchFaults, { fault, match: options.match }, 1);
  }

  /** The next matching watch request is answered with 200 (or `status`) and a page of HTML, as by a proxy's login. */
  htmlInsteadOfWatch(options: { status?: number; match?: RequestMatch; count?: number } = {}): ActiveFault {
    const answer: RequestFault = {
      kind: "error",
      status: options.status ?? 200,
      headers: {},
      contentType: "text/html; charset=utf-8",
      body: "<!doctype html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>\n",
    };
    return add(this.#watchAnswers, { answer, match: options.match }, options.count ?? 1);
  }

  /** New log answers are cut at a byte (in the middle of a line, or of a character), until removed. */
  cutLogs(options: LogCut): ActiveFault {
    if (options.atByte === undefined && options.everyBytes === undefined) {
      throw new TypeError("cutLogs: give atByte or everyBytes (a number of bytes)");
    }
    return add(this.#logCuts, options, options.count);
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
    checkRate("failLogs", options.rate);
    return add(this.#logFailures, options, options.count);
  }

  /** Ends all faults that go on. */
  clear(): void {
    for (const rules of [this.#errors, this.#resets, this.#delays, this.#paces, this.#logCuts, this.#logFailures])
      rules.clear();
    this.#watchFaults.clear();
    this.#watchAnswers.clear();
    this.#stalls.clear();
    this.#listEnds.clear();
    for (const watch of this.#targets.watches()) {
      watch.exchange.release();
      watch.endList();
    }
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  // What the server asks.

  /** @internal */
  forRequest(request: RequestInfo): RequestFault | undefined {
    const reset = take(this.#resets, (fault) => fits(fault.match, request) && this.#random() < fault.rate);
    if (reset !== undefined) return { kind: "reset" };
    if (request.verb === "watch") {
      const rule = take(this.#watchAnswers, (fault) => fits(fault.match, request));
      if (rule !== undefined) return rule.answer;
    }
    const error = take(this.#errors, (fault) => fits(fault.match, request) && this.#random() < (fault.rate ?? 1));
    return error === undefined ? undefined : errorAnswer(error);
  }

  /** @internal Milliseconds by which the request is late. */
  delayFor(request: RequestInfo): number {
    return take(this.#delays, (fault) => fits(fault.match, request))?.ms ?? 0;
  }

  /** @internal */
  prepareAnswer(request: RequestInfo, exchange: Exchange): void {
    const pace = take(this.#paces, (fault) => fits(fault.match, request));
    if (pace !== undefined) exchange.pace(pace);
    if (request.verb === "watch" && this.#isStalled(request)) exchange.stall();
  }

  /** @internal */
  forWatch(request: RequestInfo): WatchFrameFault | undefined {
    return take(this.#watchFaults, (fault) => fits(fault.match, request))?.fault;
  }

  /** @internal */
  forListEnd(request: RequestInfo): ListEndFault | undefined {
    return take(this.#listEnds, (fault) => fits(fault.match, request));
  }

  /** @internal After how many bytes the log answer is cut, and how. */
  forLog(request: RequestInfo, follow: boolean): { atByte: number; how: "end" | "reset" } | undefined {
    const cut = take(this.#logCuts, (fault) => fits(fault.match, request) && (follow || fault.followOnly === false));
    if (cut === undefined) return undefined;
    const atByte = cut.atByte ?? 1 + Math.floor(this.#random() * 2 * (cut.everyBytes ?? 1));
    const how = cut.how === "random" ? (this.#random() < 0.5 ? "end" : "reset") : (cut.how ?? "end");
    return { atByte, how };
  }

  /** @internal */
  forLogRequest(request: RequestInfo, container: string): StatusError | undefined {
    const failure = take(
      this.#logFailures,
      (fault) => fits(fault.match, request) && this.#random() < (fault.rate ?? 1),
    );
    const pod = request.name ?? "";
    switch (failure?.kind) {
      case "unreachable":
        return new StatusError(
          500,
          "InternalError",
          `Get "https://10.244.0.1:10250/containerLogs/${request.namespace}/${pod}/${container}": dial tcp 10.244.0.1:10250: connect: connection refused`,
          { causes: [{ reason: "", message: "dial tcp 10.244.0.1:10250: connect: connection refused" }] },
        );
      case "notFound":
        return new StatusError(404, "NotFound", `the server could not find the requested resource ( pods/log ${pod})`, {
          name: pod,
          kind: "pods/log",
        });
      case "waiting":
        return new StatusError(
          400,
          "BadRequest",
          `container "${container}" in pod "${pod}" is waiting to start: ContainerCreating`,
        );
      default:
        return undefined;
    }
  }

  #isStalled(request: RequestInfo): boolean {
    for (const { match } of this.#stalls) if (fits(match, request)) return true;
    return false;
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

function add<T>(rules: Set<Rule<T>>, fault: T, count: number | undefined): ActiveFault {
  const rule = { fault, left: count ?? Number.POSITIVE_INFINITY };
  rules.add(rule);
  return { remove: () => void rules.delete(rule) };
}

/** The first rule that applies, counted down. */
function take<T>(rules: Set<Rule<T>>, applies: (fault: T) => boolean): T | undefined {
  for (const rule of rules) {
    if (!applies(rule.fault)) continue;
    if (--rule.left <= 0) rules.delete(rule);
    return rule.fault;
  }
  return undefined;
}

function fits(match: RequestMatch | undefined, request: RequestInfo): boolean {
  if (match === undefined) return true;
  const { verb, resource, namespace, name, where } = match;
  const wanted = request.subresource === undefined ? request.resource : `${request.resource}/${request.subresource}`;
  if (verb !== undefined && !oneOf(verb, request.verb)) return false;
  if (resource !== undefined && !oneOf(resource, wanted)) return false;
  if (namespace !== undefined && namespace !== request.namespace) return false;
  if (name !== undefined && name !== request.name) return false;
  return where === undefined || where(request);
}

function oneOf(allowed: string | readonly string[], value: string | undefined): boolean {
  return typeof allowed === "string" ? allowed === value : value !== undefined && allowed.includes(value);
}

function checkRate(method: string, rate: number | undefined): void {
  if (rate !== undefined && !(rate >= 0 && rate <= 1)) {
    throw new RangeError(`${method}: rate must be between 0 and 1, got ${rate}`);
  }
}

const REASONS: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  410: "Expired",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

function errorAnswer(fault: ErrorRate): RequestFault {
  const { status = 500, retryAfterSeconds } = fault;
  const reason = fault.reason ?? REASONS[status] ?? "";
  const message =
    fault.message ?? (status === 429 ? "Too many requests, please try again later." : "fault injected by the test");
  const details = retryAfterSeconds === undefined ? undefined : { retryAfterSeconds };
  return {
    kind: "error",
    status,
    headers: retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) },
    contentType: fault.contentType ?? (fault.body === undefined ? "application/json" : "text/plain; charset=utf-8"),
    body: fault.body ?? `${JSON.stringify(new StatusError(status, reason, message, details).body())}\n`,
  };
}
