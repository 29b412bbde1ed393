import type { TestSpecification } from "vitest/node";
import { BaseSequencer } from "vitest/node";

/** Files that take longer than twenty seconds, mostly waiting, the slowest first: what begins last keeps the run from its end. */
const SLOW = [
  "adapter/ownership",
  "claude/disruption-limits",
  "hostile/api-answers",
  "adapter/lifecycle",
  "runs/disruption",
  "logs/follow",
  "cli/demo",
  "adapter/failures",
  "end-to-end/targets",
  "transport/conformance",
  "engine/run-engine",
  "claude/verdicts",
  "engine/launch-queue",
  "adapter/bounds",
  "claude/disruption",
  "claude/package",
  "adapter/paused",
  "adapter/race-many",
  "adapter/race",
  "runs/run-logs",
  "adapter/outage",
  "e2e/disruption",
  "e2e/output",
  "e2e/adapter",
  "e2e/processes",
  "logs/embedded",
  "runs/ends",
  "adapter/execute",
  "runs/rights",
  "security/rbac",
  "examples/examples",
  "adapter/disruption",
  "engine/kueue",
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
