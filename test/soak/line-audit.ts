import { lineOf, type Script } from "./script.ts";

export interface AuditResult {
  /** Lines that arrived whole and right. */
  readonly delivered: number;
  readonly doubled: number;
  /** Ranges that never came before a later line did: [first, last]. */
  readonly holes: readonly (readonly [number, number])[];
  /** Lines whose end is missing. */
  readonly cut: number;
  /** Lines that are none of the run's. */
  readonly foreign: readonly string[];
  /** The next line that was expected; `lines` when all came. */
  readonly next: number;
}

/** Compares what one call of `execute` delivered with what the container has written, as it comes. */
export class LineAudit {
  readonly #script: Script;
  readonly #holes: [number, number][] = [];
  readonly #foreign: string[] = [];
  #partial = "";
  #next = 0;
  #delivered = 0;
  #cut = 0;
  #doubled = 0;

  constructor(script: Script) {
    this.#script = script;
  }

  push(chunk: string): void {
    const lines = (this.#partial + chunk).split("\n");
    this.#partial = lines.pop() ?? "";
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    const seq = Number(/"soak_seq":(\d+)\}$/.exec(line)?.[1] ?? Number.NaN);
    if (Number.isNaN(seq) || seq >= this.#script.lines || line !== lineOf(this.#script, seq)) {
      // A character that was cut shows as U+FFFD.
      const begin = line.replace(/\ufffd+$/, "");
      const isCut =
        begin !== "" && this.#next < this.#script.lines && lineOf(this.#script, this.#next).startsWith(begin);
      if (isCut) this.#cut += 1;
      else if (this.#foreign.length < 5) this.#foreign.push(line.slice(0, 200));
      return;
    }
    if (seq < this.#next) {
      this.#doubled += 1;
      return;
    }
    if (seq > this.#next) this.#holes.push([this.#next, seq - 1]);
    this.#next = seq + 1;
    this.#delivered += 1;
  }

  get result(): AuditResult {
    return {
      delivered: this.#delivered,
      doubled: this.#doubled,
      cut: this.#cut,
      holes: this.#holes,
      foreign: this.#partial === "" ? this.#foreign : [...this.#foreign, `(cut) ${this.#partial.slice(0, 200)}`],
      next: this.#next,
    };
  }
}
