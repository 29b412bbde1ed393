import type { RequestInfo } from "../objects/request-info.ts";
import type { ErrorAnswer } from "./fault-answers.ts";
import type { RequestMatch } from "./request-match.ts";
import type { ActiveFault } from "./rule-set.ts";

export interface SeatLimitOptions {
  /** Requests that are worked on at a time. */
  seats: number;
  /** More of them that wait for a seat; what comes then is refused. Default 0. */
  queued?: number;
  /** How long a request has its seat before it is acted on, in milliseconds of the cluster's clock. Default 0. */
  workMs?: number;
  /** What those that are refused are told. Default 1, as API priority and fairness says. */
  retryAfterSeconds?: number;
  /** Default: all requests but watches and followed logs, which hold no seat. */
  match?: RequestMatch;
}

export interface ActiveSeatLimit extends ActiveFault {
  /** How often each object was refused, by verb, resource and name: `create jobs/run-1`. */
  readonly refusals: ReadonlyMap<string, number>;
}

/** The seats that priority and fairness gives one client, and their queue. */
export class SeatLimit {
  readonly options: SeatLimitOptions;
  readonly refusals = new Map<string, number>();
  hits = 0;
  #taken = 0;
  readonly #queue: (() => void)[] = [];

  /** @throws RangeError naming the option and what it got */
  constructor(options: SeatLimitOptions) {
    check("seats", options.seats, 1);
    check("queued", options.queued ?? 0, 0);
    check("workMs", options.workMs ?? 0, 0);
    check("retryAfterSeconds", options.retryAfterSeconds ?? 1, 0);
    this.options = options;
  }

  /** Resolves with true when the request has a seat, with false when it is refused. */
  async take(): Promise<boolean> {
    const { seats, queued = 0 } = this.options;
    if (this.#taken < seats) {
      this.#taken += 1;
      return true;
    }
    if (this.#queue.length >= queued) return false;
    await new Promise<void>((resolve) => this.#queue.push(resolve));
    return true;
  }

  /** The seat goes to the next in the queue. */
  leave(): void {
    const next = this.#queue.shift();
    if (next === undefined) this.#taken -= 1;
    else next();
  }

  /** `body` names what is created. */
  refuse({ verb, resource, name }: RequestInfo, body: Buffer): ErrorAnswer {
    const what = `${verb} ${resource}/${name ?? nameIn(body)}`;
    this.refusals.set(what, (this.refusals.get(what) ?? 0) + 1);
    this.hits += 1;
    return {
      kind: "error",
      status: 429,
      headers: { "retry-after": String(this.options.retryAfterSeconds ?? 1) },
      contentType: "text/plain; charset=utf-8",
      body: "Too many requests, please try again later.\n",
    };
  }
}

function nameIn(body: Buffer): string {
  try {
    return String((JSON.parse(body.toString()) as { metadata?: { name?: unknown } }).metadata?.name ?? "");
  } catch {
    return "";
  }
}

function check(name: string, value: number, least: number): void {
  if (Number.isFinite(value) && value >= least) return;
  throw new RangeError(`limitSeats: ${name} must be a number of at least ${least}, got ${value}`);
}
