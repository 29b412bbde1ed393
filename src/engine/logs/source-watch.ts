import type { LogSource } from "./types.ts";

/** Waits for changes of a log's source. One at a time, which is all that one follower needs. */
export class SourceWatch {
  readonly #stop: () => void;
  readonly #signal: AbortSignal;
  #wake: (() => void) | null = null;
  readonly #onAbort = () => this.#wake?.();
  /** Called at each change, besides what waits. */
  onChange: (() => void) | null = null;

  constructor(source: LogSource, signal: AbortSignal) {
    this.#signal = signal;
    this.#stop = source.onChange(() => {
      this.onChange?.();
      this.#wake?.();
    });
    signal.addEventListener("abort", this.#onAbort);
  }

  /** Resolves at the next change, after `ms`, or when the signal aborts. */
  change(ms?: number): Promise<void> {
    if (this.#signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      // Not unref'd: whoever awaits lines is not done, though no request is open at the moment.
      const timer = ms === undefined ? null : setTimeout(() => this.#wake?.(), ms);
      this.#wake = () => {
        this.#wake = null;
        if (timer) clearTimeout(timer);
        resolve();
      };
    });
  }

  close(): void {
    this.#stop();
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#wake?.();
  }
}
