import type { NewObject, StoredObject } from "../objects/objects.ts";
import { StatusError } from "../objects/status-error.ts";

const SYSTEM_CLASSES: Readonly<Record<string, number>> = {
  "system-cluster-critical": 2_000_000_000,
  "system-node-critical": 2_000_001_000,
};

interface PriorityClass extends StoredObject {
  value?: number;
  globalDefault?: boolean;
  preemptionPolicy?: string;
}

/** The Priority admission plugin: a pod gets the number of its class. Throws `StatusError` 403. */
export function admitPriority(pod: NewObject, classes: readonly StoredObject[]): void {
  const spec = pod.spec as { priority?: number; priorityClassName?: string; preemptionPolicy?: string };
  const known = classes as readonly PriorityClass[];
  const wanted = spec.priorityClassName;
  const found = wanted
    ? known.find(({ metadata }) => metadata.name === wanted)
    : known.find((one) => one.globalDefault);
  const system = wanted === undefined ? undefined : SYSTEM_CLASSES[wanted];
  if (wanted && found === undefined && system === undefined) {
    throw forbidden(pod, `no PriorityClass with name ${wanted} was found`);
  }
  const priority = found?.value ?? system ?? 0;
  if (spec.priority !== undefined && spec.priority !== priority) {
    throw forbidden(
      pod,
      `the integer value of priority (${spec.priority}) must not be provided in pod spec; priority admission controller computed ${priority} from the given PriorityClass name`,
    );
  }
  if (found !== undefined) spec.priorityClassName = found.metadata.name;
  spec.priority = priority;
  spec.preemptionPolicy ??= found?.preemptionPolicy ?? "PreemptLowerPriority";
}

function forbidden({ metadata }: NewObject, why: string): StatusError {
  const name = metadata?.name ?? "";
  return new StatusError(403, "Forbidden", `pods ${JSON.stringify(name)} is forbidden: ${why}`, { name, kind: "pods" });
}
