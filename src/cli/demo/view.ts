import { styleText } from "node:util";
import { printable } from "../../adapter/host/printable.ts";
import { cell, cut } from "../text-width.ts";

export interface RunRow {
  agent: string;
  phase: string;
  startedAt: number;
  endedAt: number | null;
  lines: number;
  text: string;
}

export interface View {
  /** Something about this row has changed. */
  update(row: RunRow): void;
  note(text: string): void;
  close(): void;
}

interface Terminal extends NodeJS.WritableStream {
  isTTY?: boolean;
  columns?: number;
  rows?: number;
}

/** A table that is drawn over itself on a terminal, a line a change of phase elsewhere. */
export function openView(output: Terminal, rows: readonly RunRow[]): View {
  return output.isTTY === true ? new LiveView(output, rows) : new PlainView(output);
}

class PlainView implements View {
  readonly #output: Terminal;
  readonly #phases = new Map<RunRow, string>();
  readonly #startedAt = performance.now();

  constructor(output: Terminal) {
    this.#output = output;
  }

  update(row: RunRow): void {
    if (this.#phases.get(row) === row.phase) return;
    this.#phases.set(row, row.phase);
    this.note(
      `${row.agent} ${row.phase}${row.endedAt === null ? "" : ` after ${seconds(row)} s, ${row.lines} lines: ${printable(row.text)}`}`,
    );
  }

  note(text: string): void {
    this.#output.write(`[${((performance.now() - this.#startedAt) / 1000).toFixed(1).padStart(5)} s] ${text}\n`);
  }

  close(): void {}
}

const FRAME_MS = 100;

class LiveView implements View {
  readonly #output: Terminal;
  readonly #rows: readonly RunRow[];
  readonly #timer: NodeJS.Timeout;
  #drawn = 0;
  #note = "";

  constructor(output: Terminal, rows: readonly RunRow[]) {
    this.#output = output;
    this.#rows = rows;
    this.#timer = setInterval(() => this.#draw(), FRAME_MS);
  }

  update(): void {}

  note(text: string): void {
    this.#note = text;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#draw();
  }

  #draw(): void {
    // A pseudo-terminal that nobody gave a size says 0.
    const height = this.#output.rows || 24;
    const width = this.#output.columns || 80;
    // The last line stays free, else the terminal scrolls and the cursor comes back to the wrong place.
    const room = Math.max(1, height - 3);
    const running = this.#rows.filter((row) => row.endedAt === null);
    const shown =
      this.#rows.length <= room
        ? this.#rows
        : [...running, ...this.#rows.filter((row) => row.endedAt !== null)].slice(0, room);
    const hidden = this.#rows.length - shown.length;
    const lines = shown.map((row) => format(row, width));
    const ended = `${this.#rows.length - running.length} of ${this.#rows.length} ended`;
    const rest = `${hidden > 0 ? `, ${hidden} not shown` : ""}${this.#note === "" ? "" : `; ${this.#note}`}`;
    lines.push(cut(`${ended}${rest}`, width - 1));
    const up = this.#drawn === 0 ? "" : `\x1b[${this.#drawn}A`;
    this.#output.write(`${up}\r${lines.map((line) => `\x1b[2K${line}`).join("\n")}\n\x1b[0J`);
    this.#drawn = lines.length;
  }
}

function format(row: RunRow, width: number): string {
  const head = `${cell(row.agent, 12)} ${row.phase.padEnd(13)} ${seconds(row).padStart(6)} s ${String(row.lines).padStart(4)} lines  `;
  const line = cut(`${head}${printable(row.text.replace(/\s+/g, " "))}`, width - 1);
  if (row.endedAt === null) return line;
  return styleText(row.phase === "succeeded" ? "green" : "red", line);
}

function seconds({ startedAt, endedAt }: RunRow): string {
  return (((endedAt ?? performance.now()) - startedAt) / 1000).toFixed(1);
}
