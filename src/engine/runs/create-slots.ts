/** What a small API server certainly takes of one client at a time. */
const FIRST_LIMIT = 10;
/** More would only stand in the server's own queues, in front of this client's other requests. */
const LAST_LIMIT = 50;
/** A slot is added when each of them has created so many objects in a row. */
const ACCEPTED_BEFORE_GROWTH = 10;

/**
 * How many create requests may be under way. API priority and fairness (KEP-1040) gives a client some seats and refuses with 429 what
 * finds none, so each refusal takes one slot away and a long row of accepted creates adds some: by half of them until the server
 * has refused the first, then one by one.
 */
export class CreateSlots {
  #limit = FIRST_LIMIT;
  #taken = 0;
  #accepted = 0;
  #wasRefused = false;

  get taken(): number {
    return this.#taken;
  }

  /** For a create that is sent for the first time. */
  get isFree(): boolean {
    return this.#taken < this.#limit;
  }

  /** For one that was refused. It leaves the last slot empty: that may be one more than the server takes. */
  get isFreeAgain(): boolean {
    return this.#taken < Math.max(1, this.#limit - 1);
  }

  take(): void {
    this.#taken += 1;
  }

  /** The create is over: accepted, or failed for another reason than the server's load. */
  release(): void {
    this.#taken -= 1;
    this.#accepted += 1;
    if (this.#accepted < this.#limit * ACCEPTED_BEFORE_GROWTH) return;
    this.#accepted = 0;
    this.#limit = Math.min(LAST_LIMIT, this.#limit + (this.#wasRefused ? 1 : Math.floor(this.#limit / 2)));
  }

  /** At zero nothing is sent until the wait that the server asked for is over, see `retry`. */
  refuse(): void {
    this.#taken -= 1;
    this.#accepted = 0;
    this.#wasRefused = true;
    this.#limit = Math.max(0, this.#limit - 1);
  }

  /** The server's wait is over for one that was refused. */
  retry(): void {
    this.#limit = Math.max(1, this.#limit);
  }
}
