import { styleText } from "node:util";
import { printable } from "../adapter/host/printable.ts";
import type { Pod } from "../engine/kubernetes.ts";
import type { LogLine } from "../engine/logs/index.ts";
import type { CommandIo } from "./command.ts";
import { highlighted, isWanted, type LineFacts, type LineFormat, type LineOptions, lineFormat } from "./log-lines.ts";

export interface PrinterOptions extends LineOptions {
  timestamps: boolean;
  highlight: readonly RegExp[];
  color: "auto" | "always" | "never";
}

/** Where lines come from, and what stands in front of them. */
export interface Label {
  text: string;
  colour: Colour;
  facts: Omit<LineFacts, "message" | "time">;
}

type Colour = (typeof COLOURS)[number];
const COLOURS = [
  "cyan",
  "green",
  "magenta",
  "yellow",
  "blue",
  "red",
  "cyanBright",
  "greenBright",
  "magentaBright",
  "yellowBright",
] as const;

export class Printer {
  readonly #io: CommandIo;
  readonly #options: PrinterOptions;
  readonly #format: LineFormat;
  /** A pipe gets every byte; a terminal would do what the agent's escapes tell it. */
  readonly #isTerminal: boolean;
  readonly #colours = new Map<string, Colour>();

  /** @throws UsageError for a bad template */
  constructor(io: CommandIo, options: PrinterOptions) {
    this.#io = io;
    this.#options = options;
    this.#format = lineFormat(options);
    this.#isTerminal = (io.stdout as NodeJS.WriteStream).isTTY === true;
  }

  label(pod: Pod, containerName: string): Label {
    const { name: podName, namespace } = pod.metadata;
    const run = runOf(pod);
    let colour = this.#colours.get(run);
    if (colour === undefined) {
      colour = COLOURS[this.#colours.size % COLOURS.length] as Colour;
      this.#colours.set(run, colour);
    }
    const isOnly = pod.spec.containers.length === 1 && pod.spec.containers[0]?.name === containerName;
    const facts = { run, namespace, podName, containerName, nodeName: pod.spec.nodeName ?? "" };
    return { text: isOnly ? run : `${run} ${containerName}`, colour, facts };
  }

  /** Waits for a slow terminal or pipe, which by that holds the follow back, and the server. */
  async print(label: Label, lines: readonly LogLine[], signal: AbortSignal): Promise<void> {
    const { stdout } = this.#io;
    const prefix = this.#style(label.colour, label.text, stdout);
    let out = "";
    for (const { text, time } of lines)
      if (isWanted(this.#options, text)) out += `${this.#line(label, prefix, text, time)}\n`;
    if (out === "" || stdout.write(out)) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        stdout.off("drain", done);
        stdout.off("close", done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      stdout.on("drain", done);
      stdout.on("close", done);
      signal.addEventListener("abort", done);
    });
  }

  /** What there is to say beside the lines: on standard error. */
  tell({ text, colour }: Label, message: string, mark = ""): void {
    const { stderr } = this.#io;
    const prefix = this.#style(colour, mark + text, stderr);
    stderr.write(`${prefix}${message === "" ? "" : ` ${this.#style("dim", printable(message), stderr)}`}\n`);
  }

  #line({ facts }: Label, prefix: string, text: string, time: string): string {
    const { highlight, timestamps } = this.#options;
    const shown = this.#isTerminal ? printable(text) : text;
    if (this.#format !== null) return this.#format({ message: shown, ...facts, time });
    const marked = highlight.length > 0 && this.#isColoured(this.#io.stdout) ? highlighted(shown, highlight) : shown;
    return `${prefix} ${timestamps ? `${time} ` : ""}${marked}`;
  }

  #isColoured(stream: NodeJS.WritableStream): boolean {
    return this.#style("red", ".", stream) !== ".";
  }

  /** By itself styleText leaves colours out where the stream is no terminal, and under NO_COLOR. */
  #style(style: Colour | "dim", text: string, stream: NodeJS.WritableStream): string {
    const { color } = this.#options;
    if (color === "never") return text;
    if (color === "always") return styleText(style, text, { validateStream: false });
    return styleText(style, text, { stream: stream as NodeJS.WriteStream });
  }
}

/** Name of the Job; of a pod that no Job controls, its own. */
export function runOf({ metadata: { name, labels = {} } }: Pod): string {
  return labels["batch.kubernetes.io/job-name"] ?? labels["job-name"] ?? name;
}
