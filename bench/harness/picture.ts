import { cell, type SavedReport } from "./results.ts";

const WIDTH = 980;
const LABEL = 290;
const BAR = 420;
const ROW = 58;

interface Compared {
  what: string;
  ours: string;
  other: string;
  otherName: string;
}

/** Ours and what one would use instead, measure by measure: in each row the longer bar is the larger cost. */
export function renderPicture(reports: Readonly<Record<string, SavedReport>>): string {
  const { requests, latency, ingest, memory, sync } = reports;
  const of = (
    what: string,
    report: SavedReport | undefined,
    title: string,
    column: string,
    names: [string, string],
    otherName: string,
  ): Compared => ({
    what,
    ours: cell(report, title, names[0], column),
    other: cell(report, title, names[1], column),
    otherName,
  });
  const ours = "k8s-run-informer";
  const polling: [string, string] = [ours, "polling adapter"];
  const clientNode: [string, string] = [ours, "client-node"];
  const rows = [
    of("API requests of a run of 10 minutes", requests, "600 s", "requests a run", polling, "polling adapter"),
    of("ms from the end to the promise, 1,000 runs", latency, "1,000 active", "median ms", polling, "polling adapter"),
    of("CPU µs a watch frame", ingest, "MODIFIED frames", "CPU µs a frame", clientNode, "client-node's informer"),
    of("heap of a pod in the cache", memory, "in the cache", "heap a pod", clientNode, "client-node's, whole pods"),
    of(
      "ms to a complete cache of 10,000 pods",
      sync,
      "10,000 pods",
      "ms until complete",
      clientNode,
      "client-node's informer",
    ),
  ];
  const body = rows.map((row, at) => renderRow(row, 20 + at * ROW));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${rows.length * ROW + 20}" font-family="system-ui, sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#fff"/>
${body.join("\n")}
</svg>
`;
}

function renderRow({ what, ours, other, otherName }: Compared, top: number): string {
  const values = [amount(ours), amount(other)];
  const longest = Math.max(...values);
  const bar = (at: number, name: string, text: string, colour: string) => {
    const width = Math.max(2, (BAR * (values[at] as number)) / longest);
    const y = top + at * 22;
    return `<rect x="${LABEL}" y="${y}" width="${width.toFixed(1)}" height="17" fill="${colour}"/><text x="${(LABEL + width + 6).toFixed(1)}" y="${y + 13}" fill="#333">${plain(text)} ${name}</text>`;
  };
  return `<text x="${LABEL - 10}" y="${top + 25}" text-anchor="end">${what}</text>${bar(0, "", ours, "#0b6e99")}${bar(1, `(${otherName})`, other, "#c9c7c4")}`;
}

/** `1,234 (1,200–1,300)` → `1,234` */
function plain(text: string): string {
  return text.replace(/ \(.*/, "");
}

function amount(text: string): number {
  return Number(
    plain(text)
      .replace(/,/g, "")
      .replace(/ [KM]?B$/, ""),
  );
}
