import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { lostLines } from "../fleet/line-audit.ts";
import type { DemoRun } from "./host.ts";

export interface DemoFigures {
  outcomes: Record<string, number>;
  delivered: number;
  lost: number;
  doubled: number;
  outOfOrder: number;
  /** Runs whose `execute` threw, or that ended without their last line though they should have had it. */
  broken: string[];
}

/** @param isScripted the agents number their lines, as those of the embedded Kubernetes do */
export function countRuns(runs: readonly DemoRun[], isScripted: boolean): DemoFigures {
  const figures: DemoFigures = { outcomes: {}, delivered: 0, lost: 0, doubled: 0, outOfOrder: 0, broken: [] };
  for (const { row, audit, thrown, result, outcome } of runs) {
    figures.outcomes[outcome] = (figures.outcomes[outcome] ?? 0) + 1;
    const { delivered, doubled, outOfOrder, total } = audit.result;
    figures.delivered += isScripted ? delivered : row.lines;
    figures.lost += lostLines(audit.result);
    figures.doubled += doubled;
    figures.outOfOrder += outOfOrder;
    if (thrown !== null) figures.broken.push(`${row.agent}: execute threw ${thrown}`);
    else if (result === null) figures.broken.push(`${row.agent}: no result`);
    else if (isScripted && total === null && !isUnstarted(result))
      figures.broken.push(`${row.agent}: its last line never came (${row.text})`);
  }
  return figures;
}

/** The adapter gave up before there was a Job, and says so, for the host to try again: no line was ever printed. */
function isUnstarted(result: AdapterExecutionResult): boolean {
  return result.executionRecovery?.kind === "bootstrap" || result.errorCode === "k8s_job_create_failed";
}

export function formatCounts(counts: Readonly<Record<string, number>>, divisor = 1): string {
  return Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(
      ([name, count]) => `${name} ${divisor === 1 ? count : (count / divisor).toFixed(count / divisor < 10 ? 2 : 0)}`,
    )
    .join(", ");
}

/** `median / p99 ms` of a sample; a dash for none. */
export function formatLatencies(samples: readonly number[]): string {
  if (samples.length === 0) return "–";
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (share: number) =>
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0).toFixed(1);
  return `median ${at(0.5)} ms, p99 ${at(0.99)} ms`;
}
