import { LinkedAbort, type LogGap, type LogLine, type Run } from "../../engine/index.ts";
import type { AgentActivity, AgentEvent, AgentVerdict, ResultParser } from "../definition.ts";
import type { RunLog } from "../host/run-log.ts";
import { settlesWithin } from "../wait.ts";

export interface Output {
  lines: number;
  characters: number;
  firstLine: string | null;
  lastLine: string | null;
  readonly gaps: LogGap[];
  /** What ended the log before its end, if anything did. */
  error: unknown;
  parserError: unknown;
}

export interface FollowOptions<Verdict extends AgentVerdict> {
  readonly container: string;
  readonly log: RunLog;
  readonly parser: ResultParser<Verdict>;
  readonly isFirstLine: ((line: string) => boolean) | undefined;
  readonly isLastLine: ((line: string) => boolean) | undefined;
  readonly lateLinesMs: number | undefined;
  /** Before a batch of lines is taken. */
  onLines(): void;
  /** After the host has taken it. */
  onTaken(activity: AgentActivity): void;
  onEvent(event: AgentEvent): void;
}

/** Characters of a line that are kept for messages. */
const MAX_EXCERPT = 500;

/** The follower gives up by itself 120 s after the end of the container; this is for one that hangs. */
const DRAIN_IDLE_MS = 150_000;

/** What is known of a run of which nothing was read. */
export function noOutput(): Output {
  return {
    lines: 0,
    characters: 0,
    firstLine: null,
    lastLine: null,
    gaps: [],
    error: null,
    parserError: null,
  };
}

/** What was printed by one process of a run, then by the next. */
export function joined(a: Output, b: Output): Output {
  return {
    lines: a.lines + b.lines,
    characters: a.characters + b.characters,
    firstLine: a.firstLine ?? b.firstLine,
    lastLine: b.lastLine ?? a.lastLine,
    gaps: [...a.gaps, ...b.gaps],
    error: b.error,
    parserError: a.parserError ?? b.parserError,
  };
}

/** Reads one run's output into the host's log and the parser: every line once, whole, in order, as fast as the host takes it. */
export class OutputReader<Verdict extends AgentVerdict> {
  readonly output: Output = noOutput();
  readonly #options: FollowOptions<Verdict>;
  readonly #stopped = new AbortController();
  readonly #done: Promise<void>;
  #progressAt = performance.now();

  constructor(run: Run, options: FollowOptions<Verdict>) {
    this.#options = options;
    this.#done = this.#pump(run);
  }

  /** Is a part of the output still to be had, that could not be read? */
  get isIncomplete(): boolean {
    const { error, gaps } = this.output;
    return error !== null || gaps.some(({ reason }) => reason === "unreachable");
  }

  /**
   * After the container's end: waits until its log is read to the end, as long as lines still come or the host is still
   * taking them.
   */
  async drained(stops: readonly AbortSignal[]): Promise<void> {
    const stop = new LinkedAbort(stops);
    const { signal } = stop;
    this.#progressAt = performance.now();
    while (!signal.aborted) {
      const leftMs = this.#progressAt + DRAIN_IDLE_MS - performance.now();
      if (leftMs <= 0) {
        this.output.error ??= new Error(
          `nothing new came of the log for ${DRAIN_IDLE_MS / 1000} s after the container had ended`,
        );
        break;
      }
      if (await settlesWithin(this.#done, leftMs, signal)) break;
    }
    stop.release();
    await this.stop();
  }

  /** Stops reading. A host that hangs in `onLog` is not waited for. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await settlesWithin(this.#done, 2_000);
  }

  async #pump(run: Run): Promise<void> {
    const { container, isFirstLine, isLastLine, lateLinesMs } = this.#options;
    try {
      const logs = run.logs({
        container,
        signal: this.#stopped.signal,
        isFirstLine: isFirstLine && ((line) => this.#ask(() => isFirstLine(line), true)),
        isLastLine: isLastLine && ((line) => this.#ask(() => isLastLine(line), false)),
        lateLinesMs,
        onGap: (gap) => this.#onGap(gap),
      });
      for await (const batch of logs.batches()) await this.#take(batch);
    } catch (error) {
      if (!this.#stopped.signal.aborted) this.output.error = error;
    }
  }

  async #take(batch: readonly LogLine[]): Promise<void> {
    const { log, onLines, onTaken } = this.#options;
    const { output } = this;
    this.#progressAt = performance.now();
    onLines();
    for (const { text } of batch) {
      output.lines += 1;
      output.characters += text.length + 1;
      if (text.trim() !== "") {
        output.firstLine ??= text.slice(0, MAX_EXCERPT);
        output.lastLine = text.slice(0, MAX_EXCERPT);
      }
      this.#parse(text);
    }
    await log.output(texts(batch));
    this.#progressAt = performance.now();
    onTaken(this.#activity());
  }

  /** A parser's fault must not cost the rest of the log. */
  #parse(text: string): void {
    const { parser, onEvent } = this.#options;
    try {
      const event = parser.push(text);
      if (event !== null) onEvent(event);
    } catch (error) {
      this.output.parserError ??= error;
    }
  }

  #activity(): AgentActivity {
    return this.#ask(() => this.#options.parser.activity?.() ?? "working", "working");
  }

  /** What the definition says, or `otherwise` where it fails in saying it. */
  #ask<Answer>(question: () => Answer, otherwise: Answer): Answer {
    try {
      return question();
    } catch (error) {
      this.output.parserError ??= error;
      return otherwise;
    }
  }

  #onGap(gap: LogGap): void {
    this.output.gaps.push(gap);
    this.#options.log.say("stderr", `Lines of the log are missing: ${gap.message}`);
  }
}

function* texts(batch: readonly LogLine[]): Generator<string> {
  for (const { text } of batch) yield text;
}
