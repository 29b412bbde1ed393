import { isTrue, type RequestInfo } from "../objects/request-info.ts";
import type { StatusError } from "../objects/status-error.ts";
import { type ErrorRate, errorAnswer, type RequestFault } from "./fault-answers.ts";
import { type LogCut, type LogFailure, logFailure } from "./log-faults.ts";
import { fits, type RequestMatch } from "./request-match.ts";
import { type FaultScope, RuleSet } from "./rule-set.ts";
import type { SeatLimit } from "./seat-limit.ts";
import type { ListEndFault, OpenAnswer, Pace, WatchFrameFault } from "./targets.ts";

export interface RequestDelay {
  readonly ms: number;
  /** Ends the wait sooner. */
  readonly released?: Promise<void>;
  /** It is acted on though its client has gone by then. */
  readonly outlivesClient?: boolean;
}

const NO_DELAY: RequestDelay = { ms: 0 };

/** The faults that are active, and what the server asks of them at each step of a request. `Faults` fills them. */
export class FaultRules {
  readonly #random: () => number;
  readonly #sets: { clear(): void }[] = [];
  readonly errors = this.#rules<ErrorRate>();
  readonly resets = this.#rules();
  /** Of requests that are acted on, and whose answer is lost. */
  readonly lostAnswers = this.#rules();
  readonly delays = this.#rules<FaultScope & RequestDelay>();
  readonly paces = this.#rules<FaultScope & Pace>();
  readonly logCuts = this.#rules<LogCut>();
  readonly logFailures = this.#rules<LogFailure>();
  readonly watchFrames = this.#rules<FaultScope & { frame: WatchFrameFault }>();
  readonly watchAnswers = this.#rules<FaultScope & { answer: RequestFault }>();
  readonly listEnds = this.#rules<FaultScope & ListEndFault>();
  /** Of bookmarks that are due and not sent. */
  readonly withheldBookmarks = this.#rules();
  /** Of empty lists whose items are `null`. */
  readonly nullItems = this.#rules();
  readonly seatLimits = new Set<SeatLimit>();
  readonly stalls = new Set<{ match: RequestMatch | undefined; hits: number }>();

  constructor(random: () => number) {
    this.#random = random;
  }

  clear(): void {
    for (const set of this.#sets) set.clear();
    this.seatLimits.clear();
    this.stalls.clear();
  }

  /** Whose seat the request needs. */
  seatLimitFor(request: RequestInfo): SeatLimit | undefined {
    const isLong = request.verb === "watch" || isTrue(request.query.get("follow"));
    for (const limit of this.seatLimits) if (!isLong && fits(limit.options.match, request)) return limit;
    return undefined;
  }

  delayFor(request: RequestInfo): RequestDelay {
    return this.delays.take(request) ?? NO_DELAY;
  }

  /** What is sent in place of an answer; the request is not acted on. */
  answerFor(request: RequestInfo): RequestFault | undefined {
    if (this.resets.take(request) !== undefined) return { kind: "reset" };
    if (request.verb === "watch") {
      const rule = this.watchAnswers.take(request);
      if (rule !== undefined) return rule.answer;
    }
    const error = this.errors.take(request);
    return error === undefined ? undefined : errorAnswer(error);
  }

  prepareAnswer(request: RequestInfo, answer: OpenAnswer): void {
    const pace = this.paces.take(request);
    if (pace !== undefined) answer.pace(pace);
    if (request.verb !== "watch") return;
    for (const stall of this.stalls) {
      if (!fits(stall.match, request)) continue;
      stall.hits++;
      answer.stall();
    }
  }

  isStalled(request: RequestInfo): boolean {
    for (const { match } of this.stalls) if (fits(match, request)) return true;
    return false;
  }

  watchFrame(request: RequestInfo): WatchFrameFault | undefined {
    return this.watchFrames.take(request)?.frame;
  }

  listEnd(request: RequestInfo): ListEndFault | undefined {
    return this.listEnds.take(request);
  }

  /** After how many bytes the log answer is cut, and how. */
  logCut(request: RequestInfo, follow: boolean): { atByte: number; how: "end" | "reset" } | undefined {
    const cut = this.logCuts.take(request, ({ followOnly }) => follow || followOnly === false);
    if (cut === undefined) return undefined;
    const atByte = cut.atByte ?? 1 + Math.floor(this.#random() * 2 * (cut.everyBytes ?? 1));
    const how = cut.how === "random" ? (this.#random() < 0.5 ? "end" : "reset") : (cut.how ?? "end");
    return { atByte, how };
  }

  logFailure(request: RequestInfo, container: string): StatusError | undefined {
    const failure = this.logFailures.take(request);
    return failure === undefined ? undefined : logFailure(failure.kind, request, container);
  }

  #rules<T extends FaultScope = FaultScope>(): RuleSet<T> {
    const rules = new RuleSet<T>(() => this.#random());
    this.#sets.push(rules);
    return rules;
  }
}
