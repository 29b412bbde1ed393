/** One cluster, many files of cases: side by side, or one alone. Whoever has asked first is first. */
export class Turns {
  #running = 0;
  readonly #waiting: { readonly alone: boolean; readonly start: () => void }[] = [];
  #isAlone = false;

  /** Resolves when the turn has come, with what ends it (once; more often does nothing). */
  async take(alone: boolean): Promise<() => void> {
    await new Promise<void>((start) => {
      this.#waiting.push({ alone, start });
      this.#next();
    });
    let isOpen = true;
    return () => {
      if (!isOpen) return;
      isOpen = false;
      this.#running -= 1;
      this.#next();
    };
  }

  #next(): void {
    while (this.#waiting.length > 0) {
      const first = this.#waiting[0];
      if (first === undefined || (this.#running > 0 && (this.#isAlone || first.alone))) return;
      this.#waiting.shift();
      this.#running += 1;
      this.#isAlone = first.alone;
      first.start();
    }
  }
}
