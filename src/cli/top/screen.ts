import { emitKeypressEvents } from "node:readline";
import { styleText } from "node:util";
import type { Key } from "./top-view.ts";

/** A terminal that is drawn over: on its alternate screen, so that the scrollback stays as it was. */
export class Screen {
  readonly #input: NodeJS.ReadStream;
  readonly #output: NodeJS.WriteStream;
  readonly #onKey: (text: string | undefined, key: Key) => void;
  readonly #onResize: () => void;

  constructor(
    input: NodeJS.ReadStream,
    output: NodeJS.WriteStream,
    handlers: { key: (key: Key) => void; resize: () => void },
  ) {
    this.#input = input;
    this.#output = output;
    this.#onKey = (_, key) => handlers.key(key);
    this.#onResize = handlers.resize;
    emitKeypressEvents(input);
    input.setRawMode?.(true);
    input.on("keypress", this.#onKey);
    input.resume();
    output.on("resize", this.#onResize);
    output.write("\x1b[?1049h\x1b[?25l");
  }

  get size(): { columns: number; height: number } {
    // A pseudo-terminal without a size says 0.
    return { columns: this.#output.columns || 80, height: this.#output.rows || 24 };
  }

  draw(lines: readonly string[], cursor: number | null): void {
    const { height } = this.size;
    const shown = lines.slice(0, height).map((line, index) => {
      if (index === cursor) return styleText("inverse", line, { stream: this.#output });
      return index === 0 ? styleText("bold", line, { stream: this.#output }) : line;
    });
    this.#output.write(`\x1b[H${shown.map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J`);
  }

  close(): void {
    this.#input.off("keypress", this.#onKey);
    this.#input.setRawMode?.(false);
    this.#input.pause();
    this.#output.off("resize", this.#onResize);
    this.#output.write("\x1b[?25h\x1b[?1049l");
  }
}
