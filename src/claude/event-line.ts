import { field, isRecord, type JsonObject, word } from "../json/read-json.ts";

/** Beyond that a line is not read as an event: no event of the CLI comes near, and reading it would stall the server. */
const MAX_EVENT_CHARACTERS = 32 * 1024 * 1024;

/**
 * The event on a line of Claude's output: a JSON object with a `type`, alone on its line. Null: the line is plain text.
 * The result parser, the host's transcript and the terminal all ask here, so that they agree on every line.
 *
 * Shell profiles, tools and plugins write terminal sequences (clear screen, window title) and byte order marks to stdout
 * without a newline: they stand before the CLI's next event, or after its last one (anthropics/claude-code#6435).
 */
export function readEvent(line: string): JsonObject | null {
  if (line.length > MAX_EVENT_CHARACTERS) return null;
  const start = afterControls(line, 0);
  if (line[start] !== "{") return null;
  const value = parse(line.slice(start)) ?? parse(withoutTail(line, start));
  const type = word(field(value, "type"));
  // `error` is what an API or gateway answered, printed as it came: no event of the CLI.
  return type === null || type === "error" ? null : value;
}

/**
 * Events of the work itself: the CLI prints `system/init` before them, and hooks and plugins may print before that. A `result` can
 * be all that there is (an unknown session).
 */
const OF_THE_WORK = new Set(["assistant", "user", "stream_event"]);

/** Can Claude's output begin with this line? */
export function mayComeFirst(line: string): boolean {
  return !OF_THE_WORK.has(word(field(readEvent(line), "type")) ?? "");
}

/** One piece of what a terminal does not show: white space and controls, a byte order mark, an escape sequence. */
const CONTROL = new RegExp(
  [
    String.raw`[\s\ufeff\u0000-\u001a\u001c-\u001f\u007f]+`,
    // CSI: colours, cursor, bracketed paste.
    String.raw`(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]`,
    // OSC, DCS, SOS, PM, APC, and the title of screen and tmux: a text up to BEL or ST.
    String.raw`(?:\u001b[\]PX^_k]|[\u009d\u0090\u0098\u009e\u009f])[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)`,
    // All others: character sets, save and restore of the cursor, reset.
    String.raw`\u001b[ -/]*[0-OQ-WYZ\\\u0060-jl-~]`,
  ].join("|"),
  "y",
);

/** The first index from `start` that is no control. Linear, however many sequences never end. */
function afterControls(line: string, start: number): number {
  CONTROL.lastIndex = start;
  let end = start;
  while (CONTROL.test(line)) end = CONTROL.lastIndex;
  return end;
}

/** Never in JSON: it escapes them, also in texts. White space between its parts is not among them. */
const RAW_CONTROL = /(?![\t\n\r\u007f-\u009f])\p{Cc}/gu;

/** The text from `start` without what follows its last brace, if those are only controls. */
function withoutTail(line: string, start: number): string {
  RAW_CONTROL.lastIndex = start;
  const last = RAW_CONTROL.exec(line)?.index ?? line.length;
  const end = line.lastIndexOf("}", last) + 1;
  return end > start && end < line.length && afterControls(line, end) === line.length ? line.slice(start, end) : "";
}

function parse(text: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}
