import { warn } from "../warn.ts";

/** Whether the API server can be reached by the cluster's own components: while it is down, they wait. */
export class ApiGate {
  #closed = false;
  readonly #waiting = new Set<() => void>();

  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
  }

  open(): void {
    this.#closed = false;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const call of waiting) {
      try {
        call();
      } catch (error) {
        warn(error);
      }
    }
  }

  /** Calls it now, or once the server can be reached again. */
  pass(call: () => void): void {
    if (this.#closed) this.#waiting.add(call);
    else call();
  }
}
