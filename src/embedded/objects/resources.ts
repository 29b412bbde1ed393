/** The kinds that the embedded cluster serves, as discovery (`kubectl api-resources`) describes them. */

export type ResourceName =
  | "configmaps"
  | "events"
  | "jobs"
  | "leases"
  | "namespaces"
  | "nodes"
  | "persistentvolumeclaims"
  | "pods"
  | "priorityclasses"
  | "secrets"
  | "serviceaccounts";

export interface ResourceType {
  readonly name: ResourceName;
  readonly kind: string;
  readonly group: string;
  readonly version: string;
  readonly namespaced: boolean;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  /** `metadata.generation` counts changes of the spec of these kinds only. */
  readonly hasGeneration: boolean;
  /** A PUT of an object that is not there creates it (the strategy's `AllowCreateOnUpdate`). */
  readonly createdByUpdate: boolean;
  /** A PUT must name the version that it replaces (the strategy's `AllowUnconditionalUpdate` is false). */
  readonly updateNeedsVersion: boolean;
}

function type(
  name: ResourceName,
  kind: string,
  more: Partial<Omit<ResourceType, "name" | "kind" | "singular">> = {},
): ResourceType {
  return {
    name,
    kind,
    group: "",
    version: "v1",
    namespaced: true,
    singular: kind.toLowerCase(),
    shortNames: [],
    categories: [],
    hasGeneration: false,
    createdByUpdate: false,
    updateNeedsVersion: false,
    ...more,
  };
}

export const RESOURCES: Readonly<Record<ResourceName, ResourceType>> = {
  configmaps: type("configmaps", "ConfigMap", { shortNames: ["cm"] }),
  events: type("events", "Event", { shortNames: ["ev"] }),
  jobs: type("jobs", "Job", { group: "batch", categories: ["all"], hasGeneration: true }),
  leases: type("leases", "Lease", { group: "coordination.k8s.io", createdByUpdate: true, updateNeedsVersion: true }),
  namespaces: type("namespaces", "Namespace", { namespaced: false, shortNames: ["ns"] }),
  nodes: type("nodes", "Node", { namespaced: false, shortNames: ["no"] }),
  persistentvolumeclaims: type("persistentvolumeclaims", "PersistentVolumeClaim", { shortNames: ["pvc"] }),
  pods: type("pods", "Pod", { shortNames: ["po"], categories: ["all"], hasGeneration: true }),
  priorityclasses: type("priorityclasses", "PriorityClass", {
    group: "scheduling.k8s.io",
    namespaced: false,
    shortNames: ["pc"],
  }),
  secrets: type("secrets", "Secret"),
  serviceaccounts: type("serviceaccounts", "ServiceAccount", { shortNames: ["sa"] }),
};

export const RESOURCE_NAMES = Object.keys(RESOURCES) as readonly ResourceName[];

/** `batch/v1` or `v1`. */
export function apiVersionOf(resource: ResourceName): string {
  const { group, version } = RESOURCES[resource];
  return group === "" ? version : `${group}/${version}`;
}

/** `jobs.batch`, `pods`: how error messages name a resource. */
export function qualifiedResource(resource: ResourceName): string {
  const { group, name } = RESOURCES[resource];
  return group === "" ? name : `${name}.${group}`;
}

/** `Job.batch`, `Secret`: how error messages name a kind. */
export function qualifiedKind(resource: ResourceName): string {
  const { group, kind } = RESOURCES[resource];
  return group === "" ? kind : `${kind}.${group}`;
}
