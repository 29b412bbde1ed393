import { equalJson } from "../../json/json-object.ts";
import { timestamp } from "../clock.ts";
import { withManager } from "../objects/managed-fields.ts";
import type { StoredObject } from "../objects/objects.ts";
import { apiVersionOf, type ResourceName } from "../objects/resources.ts";

export interface WriteOptions {
  /** Who writes, for `managedFields`. Default: the component that usually writes such a change. */
  manager?: string;
  operation?: "Apply" | "Update";
  subresource?: string;
}

/** Notes in `managedFields` who made the change from `current` to `draft`. */
export function manage(
  resource: ResourceName,
  current: StoredObject,
  draft: StoredObject,
  options: WriteOptions,
  now: number,
): void {
  const writer = options.manager === undefined ? usualWriter(resource, current, draft) : options;
  if (writer?.manager === undefined || draft.metadata.managedFields === undefined) return;
  draft.metadata.managedFields = [
    ...withManager(draft.metadata.managedFields, {
      manager: writer.manager,
      operation: writer.operation ?? "Update",
      apiVersion: apiVersionOf(resource),
      time: timestamp(now),
      subresource: writer.subresource,
      before: current,
      after: draft,
    }),
  ];
}

/** Who, on a real cluster, makes such a change; `undefined` for those that leave no trace (binding a pod). */
function usualWriter(resource: ResourceName, before: StoredObject, after: StoredObject): WriteOptions | undefined {
  const statusChanged = !equalJson(before.status, after.status);
  if (resource === "pods") {
    if (!statusChanged) return undefined;
    const { nodeName } = after.spec as { nodeName?: string };
    const bound = nodeName !== (before.spec as { nodeName?: string }).nodeName;
    if (bound) return undefined;
    return { manager: nodeName ? "kubelet" : "kube-scheduler", subresource: "status" };
  }
  return statusChanged ? { manager: "kube-controller-manager", subresource: "status" } : undefined;
}
