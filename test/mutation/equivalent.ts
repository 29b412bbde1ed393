/**
 * Changes that make no difference to anybody, by file and by the line as the command shows it, each with its reason. A line that
 * is written otherwise comes back as a survivor.
 */
const EQUIVALENT: Readonly<Record<string, readonly (readonly [shown: string, reason: string])[]>> = {
  "src/engine/facts.ts": [
    [
      "allowsRetries: (spec.backoffLimit ?? «6 → 7») > 0 || spec.podFailurePolicy !== undefined,",
      "both are more than none",
    ],
    ["if («container.restartRules === undefined → false») return false;", "no rules, and no rule fits: the same"],
  ],
  "src/engine/logs/follow-policy.ts": [
    [
      'if («last?.end !== "refused" → false») throw new TypeError("asked for the refusal of a read that was answered");',
      "no row asks without a refusal",
    ],
    ["return ms * 2 ** Math.min(times, «10 → 11»);", "all callers cut the result off far below"],
  ],
};

export function isEquivalent(file: string, shown: string): boolean {
  return (EQUIVALENT[file] ?? []).some(([each]) => each === shown);
}
