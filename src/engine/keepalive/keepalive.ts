import type { Run } from "../runs/run.ts";
import { timer } from "../transport/index.ts";

export interface Silence {
  /** Milliseconds since the last `touch`. */
  silentMs: number;
  /** `ended` is never told of: the run's own promise does that. */
  liveness: "alive" | "unknown";
  /** Wall clock time in milliseconds since which the watch has been down; null while it is up. */
  unknownSince: number | null;
}

export interface KeepaliveOptions {
  /** Tell after so many milliseconds without a `touch`, and again after each further such time. */
  everyMs: number;
  onSilence: (silence: Silence) => void;
}

export interface KeepaliveHandle {
  /** There was a sign of life: silence counts from now. */
  touch(): void;
  stop(): void;
}

interface Entry extends KeepaliveOptions {
  run: Run;
  touchedAt: number;
  toldAt: number;
}

/** One timer for the silence of all runs. It asks nobody: what it tells comes from the cache. */
export class Keepalive {
  readonly #entries = new Set<Entry>();
  readonly #report: (error: unknown) => void;
  #timer: NodeJS.Timeout | null = null;
  #dueAt = Number.POSITIVE_INFINITY;

  constructor(report: (error: unknown) => void) {
    this.#report = report;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** @throws RangeError when `everyMs` is not a positive number. */
  watch(run: Run, options: KeepaliveOptions): KeepaliveHandle {
    if (!(options.everyMs > 0))
      throw new RangeError(`everyMs must be a positive number of milliseconds, got ${options.everyMs}`);
    const now = performance.now();
    const entry: Entry = { ...options, run, touchedAt: now, toldAt: now };
    this.#entries.add(entry);
    this.#schedule(now + options.everyMs);
    return {
      touch: () => {
        entry.touchedAt = performance.now();
        entry.toldAt = entry.touchedAt;
      },
      stop: () => {
        this.#entries.delete(entry);
        if (this.#entries.size === 0) this.#clear();
      },
    };
  }

  stop(): void {
    this.#entries.clear();
    this.#clear();
  }

  #clear(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#dueAt = Number.POSITIVE_INFINITY;
  }

  /** Touches do not move the timer: it finds out when it fires, once per interval and not once per line. */
  #schedule(dueAt: number): void {
    if (dueAt >= this.#dueAt) return;
    this.#clear();
    this.#dueAt = dueAt;
    this.#timer = timer(dueAt - performance.now(), () => this.#fire());
  }

  #fire(): void {
    const now = performance.now();
    this.#clear();
    let next = Number.POSITIVE_INFINITY;
    for (const entry of [...this.#entries]) {
      // One that was told may have stopped another.
      if (!this.#entries.has(entry)) continue;
      if (entry.toldAt + entry.everyMs <= now) this.#tell(entry, now);
      next = Math.min(next, entry.toldAt + entry.everyMs);
    }
    if (next !== Number.POSITIVE_INFINITY) this.#schedule(next);
  }

  #tell(entry: Entry, now: number): void {
    entry.toldAt = now;
    const liveness = entry.run.liveness();
    if (liveness === "ended") return;
    try {
      entry.onSilence({ silentMs: now - entry.touchedAt, liveness, unknownSince: entry.run.unknownSince() });
    } catch (error) {
      this.#report(error);
    }
  }
}
