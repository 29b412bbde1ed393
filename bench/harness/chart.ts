import type { Series } from "./bench.ts";

const COLOURS = ["#0b6e99", "#d9730d", "#6940a5", "#0f7b6c", "#ad1a72", "#64473a", "#9b9a97"];
const WIDTH = 420;
const HEIGHT = 330;
const MARGIN = { left: 62, right: 14, top: 34, bottom: 100 };

export interface Panel {
  title: string;
  series: readonly Series[];
}

/** Panels side by side, both axes logarithmic: linear growth is a line at 45° of the grid, drawn dashed. */
export function renderChart(panels: readonly Panel[]): string {
  const shown = panels.filter(({ series }) => series.some(({ points }) => points.length > 1));
  const columns = Math.min(2, Math.max(1, shown.length));
  const rows = Math.ceil(shown.length / columns);
  const body = shown.map((panel, at) => renderPanel(panel, (at % columns) * WIDTH, Math.floor(at / columns) * HEIGHT));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${columns * WIDTH} ${rows * HEIGHT}" font-family="system-ui, sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#fff"/>
${body.join("\n")}
</svg>
`;
}

function renderPanel({ title, series }: Panel, left: number, top: number): string {
  const points = series.flatMap((each) => each.points).filter(([x, y]) => x > 0 && y > 0);
  const x = scale(
    points.map(([size]) => size),
    MARGIN.left,
    WIDTH - MARGIN.right,
  );
  const y = scale(
    points.map(([, cost]) => cost),
    HEIGHT - MARGIN.bottom,
    MARGIN.top,
  );
  const [first] = series;
  const parts = [
    `<text x="${WIDTH / 2}" y="18" text-anchor="middle" font-weight="600">${escapeXml(title)}</text>`,
    ...x.ticks.map(
      (tick) =>
        `<line x1="${x.at(tick)}" x2="${x.at(tick)}" y1="${MARGIN.top}" y2="${HEIGHT - MARGIN.bottom}" stroke="#eee"/><text x="${x.at(tick)}" y="${HEIGHT - MARGIN.bottom + 14}" text-anchor="middle" fill="#555">${short(tick)}</text>`,
    ),
    ...y.ticks.map(
      (tick) =>
        `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y.at(tick)}" y2="${y.at(tick)}" stroke="#eee"/><text x="${MARGIN.left - 6}" y="${y.at(tick) + 4}" text-anchor="end" fill="#555">${short(tick)}</text>`,
    ),
    `<text x="${(MARGIN.left + WIDTH - MARGIN.right) / 2}" y="${HEIGHT - MARGIN.bottom + 28}" text-anchor="middle" fill="#555">${escapeXml(first?.size ?? "")}</text>`,
    `<text transform="translate(14 ${(MARGIN.top + HEIGHT - MARGIN.bottom) / 2}) rotate(-90)" text-anchor="middle" fill="#555">${escapeXml(first?.unit ?? "")}</text>`,
  ];
  for (const [at, { name, points: all }] of series.entries()) {
    const colour = COLOURS[at % COLOURS.length];
    const shown = all.filter(([size, cost]) => size > 0 && cost > 0);
    const path = shown.map(([size, cost]) => `${x.at(size).toFixed(1)},${y.at(cost).toFixed(1)}`).join(" ");
    parts.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    for (const [size, cost] of shown)
      parts.push(`<circle cx="${x.at(size).toFixed(1)}" cy="${y.at(cost).toFixed(1)}" r="3" fill="${colour}"/>`);
    const legendX = MARGIN.left;
    const legendY = HEIGHT - MARGIN.bottom + 45 + at * 13;
    parts.push(
      `<rect x="${legendX}" y="${legendY - 8}" width="9" height="9" fill="${colour}"/><text x="${legendX + 13}" y="${legendY}">${escapeXml(name)}</text>`,
    );
  }
  return `<g transform="translate(${left} ${top})">${parts.join("")}</g>`;
}

interface Scale {
  ticks: number[];
  at(value: number): number;
}

function scale(values: readonly number[], from: number, to: number): Scale {
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  const ticks = Array.from({ length: high - low + 1 }, (_, at) => 10 ** (low + at));
  return { ticks, at: (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from) };
}

function short(value: number): string {
  if (value >= 1e6) return `${value / 1e6}M`;
  return value >= 1e3 ? `${value / 1e3}k` : String(value);
}

function escapeXml(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
}
