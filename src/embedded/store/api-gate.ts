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
    for (const listener of waiting) {
      try {
        listener();
      } catch (error) {
        process.emitWarning(error instanceof Error ? error : new Error(String(error)));
      }
    }
  }

  /** Called once, when the server can be reached again. */
  onOpen(listener: () => void): void {
    this.#waiting.add(listener);
  }
}
