/** The kinds that the embedded cluster serves, as discovery (`kubectl api-resources`) describes them. */

export type BuiltInResource =
  | "configmaps"
  | "customresourcedefinitions"
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

/** A kind that a CustomResourceDefinition defines goes by that one's name: `widgets.example.com`. */
export type ResourceName = BuiltInResource | `${string}.${string}`;

export interface ResourceType {
  /** The plural, as it stands in paths. */
  readonly name: string;
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
  /** Of custom resources: is the status a part of its own? Built-in ones have one where they have a generation. */
  readonly hasStatus?: boolean;
}

export function resourceType(
  name: string,
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

const BUILT_IN: Readonly<Record<BuiltInResource, ResourceType>> = {
  configmaps: resourceType("configmaps", "ConfigMap", { shortNames: ["cm"] }),
  events: resourceType("events", "Event", { shortNames: ["ev"] }),
  customresourcedefinitions: resourceType("customresourcedefinitions", "CustomResourceDefinition", {
    group: "apiextensions.k8s.io",
    namespaced: false,
    shortNames: ["crd", "crds"],
    categories: ["api-extensions"],
    hasGeneration: true,
  }),
  jobs: resourceType("jobs", "Job", { group: "batch", categories: ["all"], hasGeneration: true }),
  leases: resourceType("leases", "Lease", {
    group: "coordination.k8s.io",
    createdByUpdate: true,
    updateNeedsVersion: true,
  }),
  namespaces: resourceType("namespaces", "Namespace", { namespaced: false, shortNames: ["ns"] }),
  nodes: resourceType("nodes", "Node", { namespaced: false, shortNames: ["no"] }),
  persistentvolumeclaims: resourceType("persistentvolumeclaims", "PersistentVolumeClaim", { shortNames: ["pvc"] }),
  pods: resourceType("pods", "Pod", { shortNames: ["po"], categories: ["all"], hasGeneration: true }),
  priorityclasses: resourceType("priorityclasses", "PriorityClass", {
    group: "scheduling.k8s.io",
    namespaced: false,
    shortNames: ["pc"],
  }),
  secrets: resourceType("secrets", "Secret"),
  serviceaccounts: resourceType("serviceaccounts", "ServiceAccount", { shortNames: ["sa"] }),
};

export const RESOURCE_NAMES = Object.keys(BUILT_IN) as readonly BuiltInResource[];

const AT = new Map<string, ResourceName>(
  RESOURCE_NAMES.map((name) => [`${BUILT_IN[name].group}/${BUILT_IN[name].version}/${name}`, name]),
);

/** By name. One for all clusters of the process: whether a cluster has the kind, its CustomResourceDefinitions say. */
const custom = new Map<ResourceName, ResourceType>();

export function defineCustom(name: ResourceName, type: ResourceType): void {
  custom.set(name, type);
}

export function isCustom(resource: ResourceName): boolean {
  return !Object.hasOwn(BUILT_IN, resource);
}

/** Throws `TypeError` for a resource that is not defined. */
export function typeOf(resource: ResourceName): ResourceType {
  const type = isCustom(resource) ? custom.get(resource) : BUILT_IN[resource as BuiltInResource];
  if (type === undefined) throw new TypeError(`unknown resource ${JSON.stringify(resource)}`);
  return type;
}

/** The resource at `/apis/group/version/plural`. */
export function resourceAt(group: string, version: string, plural: string): ResourceName | undefined {
  const name: ResourceName = `${plural}.${group}`;
  return custom.get(name)?.version === version ? name : AT.get(`${group}/${version}/${plural}`);
}

/** `batch/v1` or `v1`. */
export function apiVersionOf(resource: ResourceName): string {
  const { group, version } = typeOf(resource);
  return group === "" ? version : `${group}/${version}`;
}

/** `jobs.batch`, `pods`: how error messages name a resource. */
export function qualifiedResource(resource: ResourceName): string {
  const { group, name } = typeOf(resource);
  return group === "" ? name : `${name}.${group}`;
}

/** `Job.batch`, `Secret`: how error messages name a kind. */
export function qualifiedKind(resource: ResourceName): string {
  const { group, kind } = typeOf(resource);
  return group === "" ? kind : `${kind}.${group}`;
}
