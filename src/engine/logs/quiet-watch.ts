import type { LinkedAbort } from "../transport/index.ts";

/** Ends a read that stays silent after its container has ended. While the container may run, silence means nothing. */
export class QuietWatch {
  readonly #abort: LinkedAbort;
  readonly #ms: number;
  readonly #isOver: () => boolean;
  #timer: NodeJS.Timeout | null = null;
  #isHeld = false;

  constructor(abort: LinkedAbort, ms: number, isOver: () => boolean) {
    this.#abort = abort;
    this.#ms = ms;
    this.#isOver = isOver;
    this.check();
  }

  /** The pod may have changed. */
  check(): void {
    if (this.#timer !== null || this.#isHeld || !this.#isOver()) return;
    this.#timer = setTimeout(() => this.#abort.abort(new Error("silent after the end of the container")), this.#ms);
    this.#timer.unref();
  }

  active(): void {
    this.#timer?.refresh();
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.check();
  }

  /** The consumer holds the read back; that is no silence of the server. */
  held(): void {
    this.#isHeld = true;
    this.close();
  }

  close(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
