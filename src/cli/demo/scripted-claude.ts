/**
 * What the demo's containers print: the stream-json of a Claude run, every line numbered, so that whoever reads it can tell a
 * lost line from a doubled one. The last line carries the number of them all.
 */
export interface ScriptedRun {
  lines: ScriptedLine[];
  exitCode: number;
}

export interface ScriptedLine {
  text: string;
  /** Milliseconds before the line. */
  afterMs: number;
}

const THOUGHTS = [
  "Reading the issue and the files it names",
  "The failing test is in the scheduler; looking at how it queues",
  "Ünïcödé check: naïve café, 東京, 🚀",
  "Found it: the retry counter is never reset after success",
  "Writing the fix and a test that fails without it",
  "Running the tests",
  "All green; cleaning up",
];

/** Every tenth run fails, so that the summary has something to tell apart. */
export function scriptClaude(index: number, lineCount: number): ScriptedRun {
  const fails = index % 10 === 9;
  const session = `00000000-0000-4000-8000-${String(index).padStart(12, "0")}`;
  const events: Record<string, unknown>[] = [
    { type: "system", subtype: "init", session_id: session, model: "claude-scripted", cwd: "/paperclip", tools: [] },
  ];
  for (let step = 0; events.length < lineCount - 1; step += 1) {
    const text = THOUGHTS[(index + step) % THOUGHTS.length] ?? "";
    const message = {
      id: `msg_${step}`,
      role: "assistant",
      stop_reason: null,
      usage: { input_tokens: 10, output_tokens: 20 },
      content: [{ type: "text", text }],
    };
    events.push({ type: "assistant", session_id: session, message });
  }
  events.push({
    type: "result",
    subtype: "success",
    is_error: fails,
    ...(fails ? { api_error_status: 529, terminal_reason: "api_error" } : { terminal_reason: "completed" }),
    session_id: session,
    result: fails ? "API Error: 529 overloaded" : `Fixed, with ${lineCount} lines of work`,
    total_cost_usd: 0.01 * (index + 1),
    usage: { input_tokens: 10 * lineCount, cache_read_input_tokens: 5, output_tokens: 20 * lineCount },
    demo_lines: lineCount,
  });
  return {
    exitCode: fails ? 1 : 0,
    lines: events.map((event, seq) => ({
      text: JSON.stringify({ ...event, demo_seq: seq }),
      afterMs: 40 + ((index * 37 + seq * 53) % 260),
    })),
  };
}

/** Counts what arrived of one run against what its own numbering says was sent. */
export class LineAudit {
  readonly #seen = new Map<number, number>();
  #highest = -1;
  #outOfOrder = 0;
  #announced: number | null = null;
  #partial = "";

  /** Output as the adapter delivers it, in any pieces. */
  push(chunk: string): void {
    const lines = (this.#partial + chunk).split("\n");
    this.#partial = lines.pop() ?? "";
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    let event: { demo_seq?: unknown; demo_lines?: unknown };
    try {
      event = JSON.parse(line);
    } catch {
      return;
    }
    if (typeof event?.demo_seq !== "number") return;
    if (typeof event.demo_lines === "number") this.#announced = event.demo_lines;
    this.#seen.set(event.demo_seq, (this.#seen.get(event.demo_seq) ?? 0) + 1);
    if (event.demo_seq < this.#highest) this.#outOfOrder += 1;
    this.#highest = Math.max(this.#highest, event.demo_seq);
  }

  /** `lost` counts against the announced number; before the last line has come, against the highest seen. */
  get result(): { delivered: number; lost: number; doubled: number; outOfOrder: number; complete: boolean } {
    let delivered = 0;
    for (const count of this.#seen.values()) delivered += count;
    const expected = this.#announced ?? this.#highest + 1;
    return {
      delivered,
      lost: expected - this.#seen.size,
      doubled: delivered - this.#seen.size,
      outOfOrder: this.#outOfOrder,
      complete: this.#announced !== null,
    };
  }
}
