/** A pod that stands on a node, as the scheduler counts it. */
export interface PlacedPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly priority: number;
  readonly createdAt: string;
  readonly requests: Readonly<Record<string, number>>;
}

/**
 * The pods that have to go so that one with these requests and this priority fits: as few of the lowest priorities as it
 * takes, the youngest first. Undefined if it does not fit even without all that are less important.
 */
export function victimsFor(
  requests: Readonly<Record<string, number>>,
  priority: number,
  allocatable: Readonly<Record<string, number>>,
  placed: readonly PlacedPod[],
): PlacedPod[] | undefined {
  const free: Record<string, number> = {};
  for (const name of Object.keys(requests)) {
    free[name] = allocatable[name] ?? 0;
    for (const pod of placed) free[name] -= pod.requests[name] ?? 0;
  }
  const lacks = () => Object.entries(requests).some(([name, wanted]) => wanted > 0 && wanted > (free[name] ?? 0));
  const candidates = placed
    .filter((pod) => pod.priority < priority)
    .sort((a, b) => a.priority - b.priority || (a.createdAt < b.createdAt ? 1 : -1));
  const victims: PlacedPod[] = [];
  for (const pod of candidates) {
    if (!lacks()) break;
    victims.push(pod);
    for (const name of Object.keys(free)) free[name] = (free[name] ?? 0) + (pod.requests[name] ?? 0);
  }
  return lacks() ? undefined : victims;
}
