/**
 * Runs every step in order, also those after one that failed.
 * @throws AggregateError of all that failed
 */
export async function runAll(steps: readonly (() => Promise<unknown>)[]): Promise<void> {
  const problems: unknown[] = [];
  for (const step of steps) await step().catch((problem: unknown) => problems.push(problem));
  if (problems.length > 0) {
    const messages = problems.map((problem) => (problem instanceof Error ? problem.message : String(problem)));
    throw new AggregateError(problems, `${problems.length} clean-up step(s) failed: ${messages.join("; ")}`);
  }
}
