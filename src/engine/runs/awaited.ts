import type { Pod } from "../kubernetes.ts";
import { classify } from "./classify.ts";
import type { Ask } from "./deletion.ts";
import type { RunPolicy } from "./policy.ts";
import type { RunState } from "./run-state.ts";
import type { RunEnd } from "./types.ts";

/** What is known of one awaited container. Neither is taken back. */
export interface Watched {
  readonly container: string;
  ready: Pod | null;
  end: RunEnd | null;
}

interface News {
  readied: Pod[];
  ended: RunEnd[];
  /** What the server is to be asked. */
  ask: Ask | null;
  /** Look again then; Infinity: not before something happens. */
  wakeAt: number;
}

/** The containers of a run that somebody has asked for; few runs have more than one. */
export class Awaited {
  #watched: readonly Watched[] = [];

  find(container: string): Watched | undefined {
    return this.#watched.find((each) => each.container === container);
  }

  add(container: string): Watched {
    const watched = { container, ready: null, end: null };
    this.#watched = this.#watched.concat(watched);
    return watched;
  }

  /** The one that was asked for first. */
  get main(): string | null {
    return this.#watched[0]?.container ?? null;
  }

  get hasEnd(): boolean {
    return this.#watched.some(({ end }) => end !== null);
  }

  /** What the state says of each that has not ended; noted, and returned where it is news. */
  classify(state: RunState, policy: RunPolicy, now: number): News {
    const news: News = { readied: [], ended: [], ask: null, wakeAt: Number.POSITIVE_INFINITY };
    for (const watched of this.#watched) {
      if (watched.end !== null) continue;
      const { ready, end, ask, wakeAt } = classify(state, watched.container, policy, now);
      if (watched.ready === null && ready !== null) {
        watched.ready = ready;
        news.readied.push(ready);
      }
      news.ask ??= ask;
      news.wakeAt = Math.min(news.wakeAt, wakeAt ?? news.wakeAt);
      // What the server is asked for first is no end yet.
      if (end === null || ask !== null) continue;
      watched.end = end;
      news.ended.push(end);
    }
    return news;
  }
}
