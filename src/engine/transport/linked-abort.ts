import { timer } from "./timer.ts";

/** Calls back once: when the first of its sources aborts, or its time is over; never after its release. */
export class Link {
  readonly #onEnd: (reason: unknown) => void;
  readonly #sources: AbortSignal[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(
    sources: readonly (AbortSignal | undefined)[],
    timeout: { ms: number; reason: () => Error } | undefined,
    onEnd: (reason: unknown) => void,
  ) {
    this.#onEnd = onEnd;
    for (const source of sources) {
      if (source === undefined) continue;
      if (source.aborted) {
        this.end(source.reason);
        return;
      }
      this.#sources.push(source);
      Links.of(source).add(this);
    }
    if (timeout === undefined) return;
    this.#timer = timer(timeout.ms, () => this.end(timeout.reason()));
  }

  release(): void {
    clearTimeout(this.#timer);
    for (const source of this.#sources.splice(0)) Links.of(source).delete(this);
  }

  end(reason: unknown): void {
    this.release();
    this.#onEnd(reason);
  }
}

/**
 * A signal that aborts with any of its sources, or when its time is over, until it is released. `AbortSignal.any` cannot be
 * released: each request would stay tied to a signal that lives as long as the engine.
 */
export class LinkedAbort {
  readonly #controller = new AbortController();
  readonly #link: Link;

  constructor(sources: readonly (AbortSignal | undefined)[], timeout?: { ms: number; reason: () => Error }) {
    this.#link = new Link(sources, timeout, (reason) => this.#controller.abort(reason));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  release(): void {
    this.#link.release();
  }

  abort(reason?: unknown): void {
    this.#link.end(reason);
  }
}

/** One listener a source, however many hang on it: to take one of its own away, Node walks through all of them. */
class Links {
  static readonly #all = new WeakMap<AbortSignal, Links>();
  readonly #source: AbortSignal;
  readonly #linked = new Set<Link>();

  private constructor(source: AbortSignal) {
    this.#source = source;
    source.addEventListener("abort", this, { once: true });
  }

  static of(source: AbortSignal): Links {
    let links = Links.#all.get(source);
    if (links === undefined) {
      links = new Links(source);
      Links.#all.set(source, links);
    }
    return links;
  }

  add(link: Link): void {
    this.#linked.add(link);
  }

  delete(link: Link): void {
    this.#linked.delete(link);
    if (this.#linked.size > 0) return;
    this.#source.removeEventListener("abort", this);
    Links.#all.delete(this.#source);
  }

  /** The source's listener. */
  handleEvent(): void {
    for (const link of this.#linked) link.end(this.#source.reason);
  }
}

/** Settles with `promise`, or rejects with the signal's reason if that comes first. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

export interface Bound {
  /** Ends the wait with its reason; of several, the first that aborts. */
  readonly signal?: AbortSignal | readonly (AbortSignal | undefined)[] | undefined;
  readonly ms: number;
  /** What the wait rejects with when the time is over. */
  readonly late: () => Error;
}

/**
 * The one way to bound a wait: settles with `work`, or rejects when the signal aborts or the time is over. `work` gets a signal that
 * aborts then, and is no longer waited for if it does not heed it.
 */
export async function bounded<T>({ signal, ms, late }: Bound, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new LinkedAbort([signal].flat(), { ms, reason: late });
  try {
    abort.signal.throwIfAborted();
    return await abortable(work(abort.signal), abort.signal);
  } finally {
    abort.release();
  }
}
