import stringWidth from "string-width";

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** The beginning of a text that fits so many columns of a terminal; what is cut ends in `…`. Wide characters count two. */
export function cut(text: string, columns: number): string {
  if (text.length <= columns && /^[ -~]*$/.test(text)) return text;
  if (stringWidth(text) <= columns) return text;
  let fitted = "";
  let width = 0;
  for (const { segment } of graphemes.segment(text)) {
    width += stringWidth(segment);
    if (width > columns - 1) break;
    fitted += segment;
  }
  return columns < 1 ? "" : `${fitted}…`;
}

/** The same, filled with spaces to exactly so many columns. */
export function cell(text: string, columns: number): string {
  const fitted = cut(text, columns);
  return fitted + " ".repeat(Math.max(0, columns - stringWidth(fitted)));
}

/**
 * Rows under their titles, each column as wide as its widest text. Where the last one, which is words, has too little room, those of
 * `expendable` are left out, the first of them first; then the second column gives way. The first, a name to type, is whole.
 */
export function formatTable(
  titles: readonly string[],
  rows: readonly (readonly string[])[],
  columns: number,
  expendable: readonly string[] = [],
): string[] {
  const last = titles.length - 1;
  const widths = titles.map((title, index) =>
    Math.max(stringWidth(title), ...rows.map((row) => stringWidth(row[index] ?? ""))),
  );
  const words = Math.min(widths[last] ?? 0, WORDS);
  const shown = titles.map((_, index) => index);
  const missing = () => shown.slice(0, -1).reduce((sum, index) => sum + (widths[index] ?? 0) + GAP, words) - columns;
  for (const title of expendable) {
    const at = shown.indexOf(titles.indexOf(title));
    if (missing() > 0 && at > 0) shown.splice(at, 1);
  }
  const second = widths[1] ?? 0;
  if (shown.length > 2) widths[1] = Math.min(second, Math.max(LEAST, second - Math.max(0, missing())));
  return [titles, ...rows].map((row) => {
    const line = shown.map((index) =>
      index === last ? (row[index] ?? "") : cell(row[index] ?? "", widths[index] ?? 0),
    );
    return cut(line.join(" ".repeat(GAP)), columns).trimEnd();
  });
}

const GAP = 2;
/** Columns of the terminal that the words have at least, and the second column. */
const WORDS = 30;
const LEAST = 8;

/** `45s`, `12m`, `3h12m`, `2d4h`, as kubectl writes ages. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  return hours % 24 === 0 ? `${Math.floor(hours / 24)}d` : `${Math.floor(hours / 24)}d${hours % 24}h`;
}
