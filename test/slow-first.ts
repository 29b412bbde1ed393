import type { TestSpecification } from "vitest/node";
import { BaseSequencer } from "vitest/node";

/** Files that take longer than twenty seconds, mostly waiting, the slowest first: what begins last keeps the run from its end. */
const SLOW = [
  "claude/disruption-limits",
  "adapter/race-many",
  "adapter/ownership",
  "adapter/lifecycle",
  "hostile/api-answers",
  "adapter/failures",
  "runs/disruption",
  "logs/follow",
  "claude/disruption",
  "adapter/bounds",
  "engine/run-engine",
  "e2e/disruption",
  "e2e/adapter",
  "e2e/processes",
  "e2e/output",
  "adapter/paused",
  "claude/package",
  "cli/demo",
  "runs/ends",
  "claude/verdicts",
  "runs/run-logs",
  "adapter/outage",
  "adapter/execute",
  "adapter/race",
  "end-to-end/targets",
  "logs/embedded",
  "runs/rights",
];

/** The slow files first, in that order; the others as vitest has them. */
export class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = SLOW.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
      return at === -1 ? SLOW.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
