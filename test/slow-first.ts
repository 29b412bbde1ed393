import type { TestSpecification } from "vitest/node";
import { BaseSequencer } from "vitest/node";

/** Files that take longer than half a minute, mostly waiting: what begins last keeps the run from its end. */
const SLOW = [
  "e2e/disruption",
  "e2e/adapter",
  "e2e/processes",
  "e2e/output",
  "hostile/api-answers",
  "adapter/failures",
  "adapter/lifecycle",
  "adapter/ownership",
  "claude/verdicts",
  "adapter/race-many",
  "adapter/paused",
  "adapter/outage",
  "adapter/race",
  "logs/follow",
  "engine/run-engine",
  "runs/run-logs",
  "adapter/bounds",
  "adapter/execute",
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
