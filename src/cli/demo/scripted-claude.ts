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

/** @param fails with an API error, as its result says */
export function scriptClaude(index: number, lineCount: number, fails: boolean): ScriptedRun {
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

/** What the agents' processes have in common: how far each agent's session has come, as a volume would keep it. */
export class DemoSessions {
  readonly #reached = new Map<string, number>();

  /** The lines that an agent still has to print. One that goes on announces its session again, in a line without a number. */
  *rest(agent: string, lines: readonly ScriptedLine[]): Generator<ScriptedLine> {
    const reached = this.#reached.get(agent) ?? 0;
    if (reached > 0 && lines[0] !== undefined)
      yield { afterMs: 0, text: lines[0].text.replace(/,"demo_seq":0\}$/, "}") };
    for (const [index, line] of lines.entries()) {
      if (index < reached) continue;
      yield line;
      this.#reached.set(agent, index + 1);
    }
  }
}

/** The number of a line, and on the last one the number of them all. */
export function readDemoLine(line: string): { seq: number; total?: number } | null {
  try {
    const event: { demo_seq?: unknown; demo_lines?: unknown } | null = JSON.parse(line);
    if (typeof event?.demo_seq !== "number") return null;
    return { seq: event.demo_seq, ...(typeof event.demo_lines === "number" ? { total: event.demo_lines } : {}) };
  } catch {
    return null;
  }
}
