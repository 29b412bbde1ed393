import { reasonOf } from "../../adapter/errors.ts";
import { printable } from "../../adapter/host/printable.ts";
import type { RunEngine } from "../../engine/index.ts";
import { aborted, type CommandIo, defineCommand } from "../command.ts";
import { rowsOf, type SelectionOptions, tableOf, withEngine } from "../runs/list.ts";
import { describeRun } from "../runs/show.ts";
import { addSelectorOption, addTargetOptions } from "../target.ts";
import { cut } from "../text-width.ts";
import { Screen } from "./screen.ts";
import { INITIAL_TOP, press, renderTop, type TopRow, type TopState } from "./top-view.ts";
import { readUsage, type Usage } from "./usage.ts";

export const topCommand = defineCommand<SelectionOptions>({
  name: "top",
  summary: "the runs of a namespace, live from two watches",
  configure: (command) => addSelectorOption(addTargetOptions(command)),
  async action(selection, io) {
    return await withEngine(selection, io, async (engine, namespace) => {
      const { stdin, stdout } = io;
      if (stdin?.isTTY === true && (stdout as NodeJS.WriteStream).isTTY)
        await new Top(engine, namespace, selection.selector, io, stdin).run();
      else stdout.write(`${tableOf(rowsOf(engine), io).join("\n")}\n`);
      return 0;
    });
  },
});

/** Ages change each second; changes of the watches are drawn together, at most so often. */
const DRAW_MS = 250;
const TICK_MS = 1_000;
const USAGE_MS = 15_000;
const TAIL_LINES = 15;

class Top {
  readonly #engine: RunEngine;
  readonly #namespace: string;
  readonly #selector: string;
  readonly #screen: Screen;
  readonly #left = new AbortController();
  readonly #signal: AbortSignal;
  #state: TopState = INITIAL_TOP;
  #usage: ReadonlyMap<string, Usage> | null = null;
  #detail: string[] = [];
  #drawing: NodeJS.Timeout | null = null;

  constructor(engine: RunEngine, namespace: string, selector: string, io: CommandIo, stdin: NodeJS.ReadStream) {
    this.#engine = engine;
    this.#namespace = namespace;
    this.#selector = selector;
    this.#signal = AbortSignal.any([io.signal, this.#left.signal]);
    this.#screen = new Screen(stdin, io.stdout as NodeJS.WriteStream, {
      key: (key) => this.#press(key),
      resize: () => this.#draw(),
    });
  }

  async run(): Promise<void> {
    const redraw = () => this.#drawSoon();
    const stops = [this.#engine.jobs.subscribe(redraw), this.#engine.pods.subscribe(redraw)];
    const tick = setInterval(redraw, TICK_MS);
    const measure = setInterval(() => void this.#measure(), USAGE_MS);
    try {
      void this.#measure();
      this.#draw();
      await aborted(this.#signal);
    } finally {
      clearInterval(tick);
      clearInterval(measure);
      if (this.#drawing !== null) clearTimeout(this.#drawing);
      for (const stop of stops) stop();
      this.#screen.close();
    }
  }

  #press(key: Parameters<typeof press>[1]): void {
    const next = press(this.#state, key, this.#rows());
    if (next === null) {
      this.#left.abort();
      return;
    }
    const isOpening = next.isOpen && !this.#state.isOpen;
    this.#state = next;
    if (isOpening) void this.#open();
    this.#draw();
  }

  /** What is shown of one run is read once, when it is opened. */
  async #open(): Promise<void> {
    const name = this.#state.selected ?? "";
    this.#detail = [`reading ${name} …`];
    const detail = await describeRun(this.#engine, this.#namespace, name, TAIL_LINES, this.#signal).catch(
      (error: unknown) => [reasonOf(error)],
    );
    this.#detail = detail ?? [`${name} is deleted`];
    if (!this.#signal.aborted) this.#draw();
  }

  async #measure(): Promise<void> {
    this.#usage = await readUsage(this.#engine.cluster, this.#namespace, this.#selector, this.#signal);
  }

  #rows(): TopRow[] {
    return rowsOf(this.#engine).map((row) => ({ ...row, ...(row.pod === null ? {} : this.#usage?.get(row.pod)) }));
  }

  #drawSoon(): void {
    this.#drawing ??= setTimeout(() => this.#draw(), DRAW_MS);
  }

  #draw(): void {
    if (this.#drawing !== null) clearTimeout(this.#drawing);
    this.#drawing = null;
    if (this.#signal.aborted) return;
    const size = this.#screen.size;
    if (this.#state.isOpen) {
      const lines = [...this.#detail.map(printable), "", "esc: back, q: leave"];
      this.#screen.draw(
        lines.slice(-size.height).map((line) => cut(line, size.columns)),
        null,
      );
      return;
    }
    const { connected, error } = this.#engine.pods.freshness();
    const health = connected ? "" : `   the watch is down${error === null ? "" : `: ${error.message}`}`;
    const title = printable(`${this.#selector} in ${this.#namespace}${health}`);
    const { lines, cursor } = renderTop(this.#state, this.#rows(), title, size);
    this.#screen.draw(lines, cursor);
  }
}
