import type { BenchReport, Goal, Series } from "../harness/bench.ts";
import { format } from "../harness/stats.ts";

const OURS = "k8s-run-informer";

/** How cost grows with size, from what the other benches measured: an exponent of 1 is linear, 0 is none. */
export function growthReport(reports: Readonly<Record<string, BenchReport>>): BenchReport | null {
  const rows: string[][] = [];
  const goals: Goal[] = [];
  for (const [bench, { series = [] }] of Object.entries(reports)) {
    for (const each of series) {
      const power = exponent(each);
      if (power === null) continue;
      const [[fromSize, fromCost], [toSize, toCost]] = power.ends;
      rows.push([
        `${bench}: ${each.name}`,
        `${format(fromSize)} → ${format(toSize)} ${each.size}`,
        `${format(fromCost)} → ${format(toCost)} ${each.unit}`,
        power.value.toFixed(2),
      ]);
      if (!each.name.startsWith(OURS)) continue;
      const met = power.value <= 1.1;
      goals.push({
        what: `growth of ${bench}${each.name.slice(OURS.length)}`,
        goal: "linear or better (exponent ≤ 1.1)",
        figure: power.value.toFixed(2),
        met,
      });
    }
  }
  if (rows.length === 0) return null;
  return { tables: [{ title: "", columns: ["what", "size", "cost", "exponent"], rows }], goals };
}

type Point = Series["points"][number];

function exponent({ points }: Series): { value: number; ends: [Point, Point] } | null {
  const first = points[0];
  const last = points.at(-1);
  if (first === undefined || last === undefined || first === last) return null;
  return { value: Math.log(last[1] / first[1]) / Math.log(last[0] / first[0]), ends: [first, last] };
}
