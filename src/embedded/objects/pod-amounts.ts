import { parseQuantity } from "./quantity.ts";
import type { ContainerSpec, PodSpec } from "./workloads.ts";

/** What a pod asks for: the sum over the containers that run side by side; an init container counts if it alone asks for more. */
export function podAmounts(
  { containers, initContainers = [] }: PodSpec,
  kind: "requests" | "limits",
): Record<string, number> {
  const sum: Record<string, number> = {};
  const isSidecar = ({ restartPolicy }: ContainerSpec) => restartPolicy === "Always";
  for (const { resources } of [...containers, ...initContainers.filter(isSidecar)]) {
    for (const [name, quantity] of Object.entries(resources?.[kind] ?? {})) {
      sum[name] = (sum[name] ?? 0) + parseQuantity(quantity);
    }
  }
  for (const { resources } of initContainers.filter((container) => !isSidecar(container))) {
    for (const [name, quantity] of Object.entries(resources?.[kind] ?? {})) {
      sum[name] = Math.max(sum[name] ?? 0, parseQuantity(quantity));
    }
  }
  return sum;
}
