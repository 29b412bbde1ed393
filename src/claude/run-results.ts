import { field, type JsonObject } from "../json/read-json.ts";
import { type ClaudeResult, isLastWord, readResult } from "./result-event.ts";

/**
 * Which of a process's `result` events is the run's. The CLI prints one per turn, and not every turn answers the prompt:
 * - Before the prompt, a resumed session answers what its last process left behind (`origin.kind: task-notification`).
 * - After the prompt, a background task that ends starts a turn of its own: its result is the run's last word.
 * - After the prompt, older CLIs print an empty or failed result of no turn: it says nothing.
 */
export class RunResults {
  #last: ClaudeResult | null = null;
  #turns: number | null = null;
  #hasSpoken = false;
  #isInterrupted = false;
  /** Its process has gone, and the next one has not yet answered the prompt to go on. */
  #isResumed = false;

  /** Another process goes on with the session. */
  restarted(): void {
    this.#isResumed = this.#last !== null;
    this.#isInterrupted = false;
  }

  add(event: JsonObject): void {
    const next = readResult(event);
    if (next.numTurns !== null) this.#turns = (this.#turns ?? 0) + next.numTurns;
    // The CLI may break off a turn by its own rules, too, and then says so.
    const isOwnStop = field(event, "stopped_by_permission_check") === true;
    this.#isInterrupted = /^aborted/.test(next.terminalReason ?? "") && !isOwnStop;
    if (this.#isInterrupted) return;
    if (this.#isRuns(next)) {
      this.#last = this.#isResumed ? next : withAnswerOf(this.#last, next);
      this.#isResumed = false;
    }
    this.#hasSpoken = false;
  }

  /** The model said or did something in the main conversation. */
  spoken(): void {
    this.#hasSpoken = true;
  }

  get last(): ClaudeResult | null {
    if (this.#last === null || this.#turns === null) return this.#last;
    return { ...this.#last, json: { ...this.#last.json, num_turns: this.#turns } };
  }

  /** The model went on after the run's result, or was to go on, and no result of that followed. */
  get isUnfinished(): boolean {
    return this.#last !== null && (this.#hasSpoken || this.#isResumed || !isLastWord(this.#last));
  }

  /** SIGINT broke off the latest turn: the CLI prints a result all the same, and ends with 0. */
  get isInterrupted(): boolean {
    return this.#isInterrupted;
  }

  #isRuns(next: ClaudeResult): boolean {
    if (this.#last === null || this.#isResumed) return next.origin === null;
    if (next.numTurns !== null) return next.numTurns > 0;
    // Without a count: one that says something came from a turn.
    return this.#hasSpoken || next.text !== null;
  }
}

/** A turn that a background task has started may say nothing, and knows of no schema: the answer before it stands. */
function withAnswerOf(before: ClaudeResult | null, next: ClaudeResult): ClaudeResult {
  if (before === null || before.isError || next.isError) return next;
  const { result, structured_output } = before.json;
  const kept = Object.entries({ result, structured_output }).filter(([, value]) => value !== undefined);
  return { ...next, text: next.text ?? before.text, json: { ...Object.fromEntries(kept), ...next.json } };
}
