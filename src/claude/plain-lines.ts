import { cutEnd } from "../json/read-json.ts";

/**
 * Lines of output that are not events: stderr of the CLI is mixed into a pod's log, and older CLIs say there what newer ones
 * put into fields. Bounded: the first, the latest, and those that look like they say why a run failed.
 */
export class PlainLines {
  readonly #head: string[] = [];
  readonly #tail: string[] = [];
  readonly #notable: string[] = [];
  #sinceEvent: string[] = [];

  add(line: string): void {
    const text = cutEnd(line.trim(), MAX_LINE);
    if (text === "") return;
    if (this.#notable.length < KEPT_LINES && NOTABLE.test(text)) this.#notable.push(text);
    this.#sinceEvent.push(text);
    if (this.#sinceEvent.length > KEPT_LAST_WORDS) this.#sinceEvent.shift();
    if (this.#head.length < KEPT_LINES) this.#head.push(text);
    else {
      this.#tail.push(text);
      if (this.#tail.length > KEPT_LINES) this.#tail.shift();
    }
  }

  /** An event follows: what was said until here were not the last words. */
  interrupted(): void {
    if (this.#sinceEvent.length > 0) this.#sinceEvent = [];
  }

  get first(): string | null {
    return this.#head[0] ?? null;
  }

  /** In order, each line once as far as they are known. */
  read(): readonly string[] {
    return [...new Set([...this.#head, ...this.#notable, ...this.#tail])];
  }

  /** What was said after the last event. */
  lastWords(): readonly string[] {
    return [...this.#sinceEvent];
  }
}

const KEPT_LINES = 10;
/** A crash of Node.js ends with up to ten lines of its stack and the version. */
const KEPT_LAST_WORDS = 20;
const MAX_LINE = 1000;
const NOTABLE = /session|log ?in|auth|limit|overload|quota|usage|model|token|api error|unavailable|throttl|http/i;
