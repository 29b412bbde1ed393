import type { Taint } from "../objects/taint.ts";
import type { PodSpec, Toleration } from "../objects/workloads.ts";

export function tolerates({ tolerations = [] }: PodSpec, taint: Taint): boolean {
  return tolerations.some((toleration) => matches(toleration, taint));
}

/** For how many seconds a pod bears the taint: without end if its tolerations name no seconds, 0 if it has none. */
export function toleratedSeconds({ tolerations = [] }: PodSpec, taint: Taint): number {
  const matching = tolerations.filter((toleration) => matches(toleration, taint));
  if (matching.length === 0) return 0;
  return Math.min(
    ...matching.map(({ tolerationSeconds }) => Math.max(0, tolerationSeconds ?? Number.POSITIVE_INFINITY)),
  );
}

function matches({ key, operator = "Equal", value = "", effect }: Toleration, taint: Taint): boolean {
  return (
    (effect === undefined || effect === "" || effect === taint.effect) &&
    (key === undefined || key === "" ? operator === "Exists" : key === taint.key) &&
    (operator === "Exists" || value === (taint.value ?? ""))
  );
}
