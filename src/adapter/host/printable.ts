/**
 * What others wrote, for a terminal: control characters, which could move its cursor, set its title, write its clipboard or
 * turn the direction of text, show as `\x1b`, `\x07`, `\u202e`; colours are left out; newlines and tabs stay.
 *
 * Not `util.stripVTControlCharacters`: it takes a second for 100 KB of sequences that never end, and leaves single controls.
 */
export function printable(text: string): string {
  return text.replace(COLOUR, "").replaceAll("\r\n", "\n").replace(CONTROL, shown);
}

/** SGR sequences: an escape, `[`, numbers, `m`. */
const COLOUR = new RegExp(`${String.fromCharCode(0x1b)}\\[[0-9;:]*m`, "g");
/** C0 but for newline and tab, DEL, C1; what turns the direction of text (UAX #9). */
const CONTROL = /(?![\n\t])\p{Cc}|[\u202a-\u202e\u2066-\u2069]/gu;

function shown(character: string): string {
  const code = character.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`;
}
