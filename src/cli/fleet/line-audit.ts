/** How the lines of a scripted agent are numbered, from 0. */
export interface Numbering {
  /** Null: not a line of the agent's. `total` stands in the last line, where the agent says it. */
  read(line: string): { readonly seq: number; readonly total?: number } | null;
  /** The whole line of a number, where it is known; null: there is no such line. */
  textOf?(seq: number): string | null;
}

export interface AuditResult {
  /** Lines that arrived whole and right, each counted once. */
  readonly delivered: number;
  readonly doubled: number;
  /** Lines that came after a later one. */
  readonly outOfOrder: number;
  /** Ranges that never came, though a later line did: [first, last]. */
  readonly holes: readonly (readonly [number, number])[];
  /** Lines whose end is missing. */
  readonly cut: number;
  /** The first few lines that are none of the agent's. */
  readonly foreign: readonly string[];
  /** The next line that was expected; the number of all when all came. */
  readonly next: number;
  /** As the agent has said it. */
  readonly total: number | null;
}

const FOREIGN_KEPT = 5;
const FOREIGN_CHARS = 200;

/** Compares what one call of `execute` delivered with what the agent's own numbering says was written, as it comes. */
export class LineAudit {
  readonly #numbering: Numbering;
  readonly #foreign: string[] = [];
  #holes: [number, number][] = [];
  #partial = "";
  #next = 0;
  #delivered = 0;
  #doubled = 0;
  #outOfOrder = 0;
  #cut = 0;
  #total: number | null = null;

  constructor(numbering: Numbering) {
    this.#numbering = numbering;
  }

  /** Output as the adapter delivers it, in any pieces. */
  push(chunk: string): void {
    const lines = (this.#partial + chunk).split("\n");
    this.#partial = lines.pop() ?? "";
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    const { read, textOf } = this.#numbering;
    const found = read(line);
    if (found === null || (textOf !== undefined && textOf(found.seq) !== line)) {
      this.#notOurs(line);
      return;
    }
    const { seq, total } = found;
    if (total !== undefined) this.#total = total;
    if (seq < this.#next) {
      if (this.#fill(seq)) this.#outOfOrder += 1;
      else this.#doubled += 1;
      return;
    }
    if (seq > this.#next) this.#holes.push([this.#next, seq - 1]);
    this.#next = seq + 1;
    this.#delivered += 1;
  }

  #notOurs(line: string): void {
    // A character that was cut shows as U+FFFD.
    const begin = line.replace(/\ufffd+$/, "");
    if (begin !== "" && this.#numbering.textOf?.(this.#next)?.startsWith(begin) === true) this.#cut += 1;
    else if (this.#foreign.length < FOREIGN_KEPT) this.#foreign.push(line.slice(0, FOREIGN_CHARS));
  }

  /** Whether the line was missing until now. */
  #fill(seq: number): boolean {
    const hole = this.#holes.find(([first, last]) => first <= seq && seq <= last);
    if (hole === undefined) return false;
    const [first, last] = hole;
    this.#holes = this.#holes.flatMap((each): [number, number][] =>
      each === hole ? parts([first, seq - 1], [seq + 1, last]) : [each],
    );
    this.#delivered += 1;
    return true;
  }

  get result(): AuditResult {
    return {
      delivered: this.#delivered,
      doubled: this.#doubled,
      outOfOrder: this.#outOfOrder,
      cut: this.#cut,
      holes: this.#holes,
      foreign:
        this.#partial === "" ? this.#foreign : [...this.#foreign, `(cut) ${this.#partial.slice(0, FOREIGN_CHARS)}`],
      next: this.#next,
      total: this.#total,
    };
  }
}

function parts(...ranges: [number, number][]): [number, number][] {
  return ranges.filter(([first, last]) => first <= last);
}

/** How many lines never came: against the number that the agent has said, before that against the highest seen. */
export function lostLines({ holes, next, total }: AuditResult): number {
  const missing = holes.reduce((sum, [first, last]) => sum + last - first + 1, 0);
  return missing + Math.max(0, (total ?? next) - next);
}
