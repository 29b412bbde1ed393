import { cutEnd } from "./json.ts";

/**
 * Lines of output that are not events: stderr of the CLI is mixed into a pod's log, and older CLIs say there what newer ones
 * put into fields. Bounded: the first, the latest, and those that look like they say why a run failed.
 */
export class PlainLines {
  readonly #head: string[] = [];
  readonly #tail: string[] = [];
  readonly #notable: string[] = [];

  add(line: string): void {
    const text = cutEnd(line.trim(), MAX_LINE);
    if (text === "") return;
    if (this.#notable.length < KEPT_LINES && NOTABLE.test(text)) this.#notable.push(text);
    if (this.#head.length < KEPT_LINES) this.#head.push(text);
    else {
      this.#tail.push(text);
      if (this.#tail.length > KEPT_LINES) this.#tail.shift();
    }
  }

  get first(): string | null {
    return this.#head[0] ?? null;
  }

  /** In order, each line once as far as they are known. */
  read(): readonly string[] {
    return [...new Set([...this.#head, ...this.#notable, ...this.#tail])];
  }
}

const KEPT_LINES = 10;
const MAX_LINE = 1000;
const NOTABLE = /session|log ?in|auth|limit|overload|quota|usage|model|token|api error|unavailable|throttl|http/i;
