/**
 * The API server's clock, as the `Date` headers of its answers show it: what its objects' times are to be compared with. Whole
 * seconds; between answers it goes on by this process's monotonic clock.
 */
export class ServerClock {
  #date: number | null = null;
  #at = 0;

  /** The `Date` header of an answer that has just come. */
  saw(date: string | string[] | undefined): void {
    const ms = Date.parse(String(date));
    if (Number.isNaN(ms)) return;
    this.#date = ms;
    this.#at = performance.now();
  }

  /** In milliseconds since 1970. This machine's own clock until an answer with a date has come. */
  now(): number {
    return this.#date === null ? Date.now() : this.#date + performance.now() - this.#at;
  }
}
