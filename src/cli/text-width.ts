import stringWidth from "string-width";

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** The beginning of a text that fits so many columns of a terminal; what is cut ends in `…`. Wide characters count two. */
export function cut(text: string, columns: number): string {
  if (text.length <= columns && isAscii(text)) return text;
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

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code > 0x7e) return false;
  }
  return true;
}

/** Rows under their titles, each column as wide as its widest text; the last one is cut where the line would be too long. */
export function formatTable(
  titles: readonly string[],
  rows: readonly (readonly string[])[],
  columns: number,
): string[] {
  const widths = titles.map((title, index) =>
    Math.max(stringWidth(title), ...rows.map((row) => stringWidth(row[index] ?? ""))),
  );
  return [titles, ...rows].map((row) => {
    const line = row.map((text, index) => (index === titles.length - 1 ? text : cell(text, widths[index] ?? 0)));
    return cut(line.join("  "), columns).trimEnd();
  });
}

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
