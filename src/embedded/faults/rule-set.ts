import type { RequestInfo } from "../objects/request-info.ts";
import { fits, type RequestMatch } from "./request-match.ts";

export interface ActiveFault {
  /** How often it was applied: to how many requests, watches or answers. */
  readonly hits: number;
  /** Ends the fault. */
  remove(): void;
}

export interface Stall extends ActiveFault {
  /** Lets everything go that was held back. So does `remove`, but for `delayRequests`. */
  release(): void;
}

/** What all faults of matching requests have in common. */
export interface FaultScope {
  match?: RequestMatch | undefined;
  /** Share of the matching requests, 0…1. Default 1. */
  rate?: number | undefined;
  /** After so many hits the fault ends. Default: never. */
  count?: number | undefined;
}

interface Rule<T> {
  readonly fault: T;
  hits: number;
}

/** The active faults of one kind; each waits for requests that it matches. */
export class RuleSet<T extends FaultScope> {
  readonly #random: () => number;
  readonly #rules = new Set<Rule<T>>();

  constructor(random: () => number) {
    this.#random = random;
  }

  /** @throws RangeError when `rate` is not between 0 and 1. */
  add(fault: T): ActiveFault {
    const { rate } = fault;
    if (rate !== undefined && !(rate >= 0 && rate <= 1)) {
      throw new RangeError(`rate must be between 0 and 1, got ${rate}`);
    }
    const rule = { fault, hits: 0 };
    this.#rules.add(rule);
    return {
      get hits() {
        return rule.hits;
      },
      remove: () => void this.#rules.delete(rule),
    };
  }

  /** The first fault that applies to the request; it is counted as a hit. */
  take(request: RequestInfo, applies?: (fault: T) => boolean): T | undefined {
    for (const rule of this.#rules) {
      const { match, rate, count } = rule.fault;
      if (!fits(match, request) || applies?.(rule.fault) === false) continue;
      if (rate !== undefined && this.#random() >= rate) continue;
      rule.hits++;
      if (count !== undefined && rule.hits >= count) this.#rules.delete(rule);
      return rule.fault;
    }
    return undefined;
  }

  /** Whether a fault applies to the request, which counts as a hit. */
  hits(request: RequestInfo): boolean {
    return this.take(request) !== undefined;
  }

  clear(): void {
    this.#rules.clear();
  }
}
