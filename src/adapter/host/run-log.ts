import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import { cutEnd } from "../../json/read-json.ts";
import type { Redactor } from "../job/credentials.ts";
import { settlesWithin } from "../wait.ts";
import { printable } from "./printable.ts";

/** The host cuts a longer piece in the middle, which destroys a line of JSON. In UTF-16 units, as the host counts. */
export const MAX_PIECE = 64 * 1024;

/**
 * Lines as pieces for `onLog`: as many whole lines together as fit, each with its newline. A line that is too long for one
 * piece is cut between code points.
 */
export function* piecesOf(lines: Iterable<string>, max = MAX_PIECE): Generator<string, void> {
  let piece = "";
  for (const line of lines) {
    if (piece !== "" && piece.length + line.length + 1 > max) {
      yield piece;
      piece = "";
    }
    if (line.length + 1 <= max) {
      piece += `${line}\n`;
      continue;
    }
    for (let rest = `${line}\n`; rest !== ""; ) {
      // At least one unit, also of a pair that is longer than a piece.
      const cut = cutEnd(rest, max) || rest.slice(0, max);
      yield cut;
      rest = rest.slice(cut.length);
    }
  }
  if (piece !== "") yield piece;
}

/** Own lines beyond this that the host has not taken yet are dropped: it hangs. */
const MAX_WAITING = 200;

/**
 * The run's log in the host: one piece after the other, each awaited. What the host's `onLog` throws costs that piece and
 * nothing else; the run goes on.
 */
export class RunLog {
  readonly #onLog: AdapterExecutionContext["onLog"];
  readonly #redactor: Redactor;
  #tail: Promise<void> = Promise.resolve();
  #waiting = 0;
  /** What `onLog` threw first, if it did. */
  firstError: unknown = null;
  failures = 0;

  constructor(onLog: AdapterExecutionContext["onLog"], redactor: Redactor) {
    this.#onLog = onLog;
    this.#redactor = redactor;
  }

  /**
   * A line of the adapter's own, or several. Does not wait. It may quote a server, a node or a container's last words: no line of
   * theirs is left without its mark, so that none can pass for the agent's output.
   */
  say(stream: "stdout" | "stderr", text: string): void {
    if (this.#waiting >= MAX_WAITING) return;
    const lines = printable(this.#redactor.text(text)).trimEnd().split("\n");
    void this.#write(stream, lines.map((line) => `[paperclip] ${line}\n`).join(""));
  }

  /** The agent's own lines, as they are. Resolves when the host has taken them: that is the back-pressure. */
  async output(lines: Iterable<string>): Promise<void> {
    for (const piece of piecesOf(lines)) await this.#write("stdout", piece);
  }

  /** Resolves when everything said so far was taken; a host that hangs is given five seconds. */
  async settled(): Promise<void> {
    await settlesWithin(this.#tail, 5_000);
  }

  #write(stream: "stdout" | "stderr", text: string): Promise<void> {
    this.#waiting += 1;
    const write = async () => {
      try {
        await this.#onLog(stream, text);
      } catch (error) {
        this.failures += 1;
        this.firstError ??= error;
      } finally {
        this.#waiting -= 1;
      }
    };
    this.#tail = this.#tail.then(write);
    return this.#tail;
  }
}
