import { createHash } from "node:crypto";
import { expect } from "vitest";

/** One line of the fake `claude`. */
export interface FakeLine {
  readonly seq: number;
  readonly type: string;
  readonly session_id: string;
  /** Of the `init` line. */
  readonly prompt_bytes?: number;
  readonly prompt_sha256?: string;
  /** Of the `result` line: how many there were, itself included. */
  readonly lines?: number;
  readonly message?: { readonly content: readonly { readonly text: string }[] };
}

/** What arrived of a run's output, held against the numbers that the lines carry. */
export class ReceivedLines {
  /** Lines of the fake `claude`, in order of arrival. */
  readonly received: FakeLine[] = [];
  /** All others. */
  readonly others: string[] = [];
  /** Lines of several pods or processes begin to count anew: one list each. */
  readonly #seqs: number[][] = [];
  readonly #listeners = new Set<() => void>();
  #bytes = 0;
  #isClosed = false;
  #partial = "";
  readonly #onLine: ((text: string) => void) | undefined;

  constructor(onLine?: (text: string) => void) {
    this.#onLine = onLine;
  }

  pushLine(text: string): void {
    this.#onLine?.(text);
    this.#bytes += Buffer.byteLength(text) + 1;
    const line = parse(text);
    if (line === null) this.others.push(text);
    else {
      this.received.push(line);
      if (line.seq === 0) this.#seqs.push([]);
      this.#seqs.at(-1)?.push(line.seq);
    }
    for (const listener of [...this.#listeners]) listener();
  }

  /** Output in any pieces. */
  pushText(text: string): void {
    const lines = (this.#partial + text).split("\n");
    this.#partial = lines.pop() ?? "";
    for (const line of lines) this.pushLine(line);
  }

  get bytes(): number {
    return this.#bytes;
  }

  get init(): FakeLine | undefined {
    return this.received.find(({ type }) => type === "system");
  }

  /** The text of each assistant's line. */
  get texts(): string[] {
    return this.received.flatMap(({ message }) => message?.content.map(({ text }) => text) ?? []);
  }

  /** No more will come: whoever waits for more is told. */
  close(): void {
    this.#isClosed = true;
    for (const listener of [...this.#listeners]) listener();
  }

  /** Resolves when so many lines have arrived; rejects with the signal, and when no more will come. */
  async atLeast(count: number, signal: AbortSignal): Promise<void> {
    while (this.received.length < count) {
      signal.throwIfAborted();
      if (this.#isClosed) throw new Error(`the output ended after ${this.received.length} of ${count} lines`);
      await new Promise<void>((resolve, reject) => {
        const settle = () => {
          this.#listeners.delete(settle);
          signal.removeEventListener("abort", onAbort);
          resolve();
        };
        const onAbort = () => {
          this.#listeners.delete(settle);
          reject(new Error(`only ${this.received.length} of ${count} lines arrived`, { cause: signal.reason }));
        };
        this.#listeners.add(settle);
        signal.addEventListener("abort", onAbort, { once: true });
      });
    }
  }

  /** The guarantee: every line of every pod once, in order, none missing. */
  expectExactlyOnce(...counts: number[]): void {
    expect(this.#seqs.map(summary), "the numbers of the lines that arrived, a list for each process").toEqual(
      counts.map((count) => summary(Array.from({ length: count }, (_, seq) => seq))),
    );
  }
}

/** Short for what counts up without a gap, everything for what does not. */
function summary(seqs: readonly number[]): string {
  const parts: string[] = [];
  for (let start = 0; start < seqs.length; ) {
    let end = start;
    while (end + 1 < seqs.length && seqs[end + 1] === (seqs[end] ?? 0) + 1) end += 1;
    parts.push(end === start ? `${seqs[start]}` : `${seqs[start]}–${seqs[end]}`);
    start = end + 1;
  }
  return parts.join(", ");
}

function parse(text: string): FakeLine | null {
  if (!text.startsWith("{")) return null;
  try {
    const line = JSON.parse(text) as Partial<FakeLine>;
    return typeof line.seq === "number" ? (line as FakeLine) : null;
  } catch {
    return null;
  }
}

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
