/**
 * How patient the classification is. All times in milliseconds, all counted on this process's monotonic clock from the
 * moment the state was first seen: node and server clocks are not compared.
 */
export interface RunPolicy {
  /** How long a container may fail to get its image (`ErrImagePull`, `ImagePullBackOff`, …). 0 = fail on first sight. Default 30 s. */
  imagePullGraceMs: number;
  /**
   * How long a container's configuration may be invalid (`CreateContainerConfigError`, …). 0 = fail on first sight. Default 30 s.
   * A container that a slow runtime does not get to create has 10 min.
   */
  configErrorGraceMs: number;
  /** How long a Job that is not suspended may go without a scheduled pod. 0 = fail at the first `Unschedulable`. Default 5 min, since an autoscaler takes two to five to bring a node. */
  scheduleTimeoutMs: number;
  /** How long a scheduled pod may take until the container runs, image pulls included. 0 = no limit. Default 0. */
  startTimeoutMs: number;
  /**
   * How long an end that is already certain waits for its details: the exit code, or the Job's word on why its pod is
   * being deleted. A pod's termination grace period comes on top of it. Default 5 s.
   */
  settleMs: number;
}

export const DEFAULT_POLICY: RunPolicy = {
  imagePullGraceMs: 30_000,
  configErrorGraceMs: 30_000,
  scheduleTimeoutMs: 300_000,
  startTimeoutMs: 0,
  settleMs: 5_000,
};

/** @throws TypeError naming the field when a value is not a finite number ≥ 0. */
export function resolvePolicy(overrides: Partial<RunPolicy> = {}, base: RunPolicy = DEFAULT_POLICY): RunPolicy {
  const given = Object.entries(overrides).filter(([, value]) => value !== undefined);
  if (given.length === 0) return base;
  const policy = { ...base };
  for (const [name, value] of given) {
    if (!(name in DEFAULT_POLICY)) {
      throw new TypeError(`policy.${name} is not a policy; known: ${Object.keys(DEFAULT_POLICY).join(", ")}`);
    }
    if (typeof value !== "number" || !Number.isFinite(value) || value < 0) {
      throw new TypeError(`policy.${name} must be a number of milliseconds ≥ 0, got ${JSON.stringify(value)}`);
    }
    policy[name as keyof RunPolicy] = value;
  }
  return policy;
}
