import { RESOURCE_NAMES, type ResourceName, type ResourceType, typeOf } from "../../objects/resources.ts";

/** The answers that say what the server is and serves: `/version`, `/api…`, `/apis…`, `/openapi/v3…`. */

const VERSION = {
  major: "1",
  minor: "36",
  emulationMajor: "1",
  emulationMinor: "36",
  minCompatibilityMajor: "1",
  minCompatibilityMinor: "35",
  gitVersion: "v1.36.2",
  gitCommit: "98b35193b2ac7a23a673325f5e9b830ecd5ba406",
  gitTreeState: "clean",
  buildDate: "2026-07-22T00:00:00Z",
  goVersion: "go1.26.10",
  compiler: "gc",
  platform: "linux/amd64",
};

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

interface DiscoveredResource {
  name: string;
  singularName: string;
  namespaced: boolean;
  kind: string;
  verbs: string[];
  group?: string;
  version?: string;
  shortNames?: readonly string[];
  categories?: readonly string[];
}

function review(name: string, kind: string): DiscoveredResource {
  return { name, singularName: kind.toLowerCase(), namespaced: false, kind, verbs: ["create"] };
}

function subresource(name: string, kind: string, verbs: string[], type?: { group: string; version: string }) {
  return { name, singularName: "", namespaced: true, ...type, kind, verbs };
}

function stored(group: string): DiscoveredResource[] {
  return RESOURCE_NAMES.map((name) => typeOf(name))
    .filter((type) => type.group === group)
    .map(describe);
}

function describe({ name, singular, namespaced, kind, shortNames, categories }: ResourceType): DiscoveredResource {
  return {
    name,
    singularName: singular,
    namespaced,
    kind,
    verbs: VERBS,
    ...(shortNames.length > 0 ? { shortNames } : {}),
    ...(categories.length > 0 ? { categories } : {}),
  };
}

type Groups = Readonly<Record<string, readonly DiscoveredResource[]>>;

const BUILT_IN: Groups = {
  v1: [
    ...stored(""),
    subresource("pods/eviction", "Eviction", ["create"], { group: "policy", version: "v1" }),
    subresource("pods/log", "Pod", ["get"]),
    subresource("pods/status", "Pod", ["get", "patch", "update"]),
  ].sort(byName),
  "apiextensions.k8s.io/v1": stored("apiextensions.k8s.io"),
  "authentication.k8s.io/v1": [review("selfsubjectreviews", "SelfSubjectReview")],
  "authorization.k8s.io/v1": [
    review("selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    review("selfsubjectrulesreviews", "SelfSubjectRulesReview"),
  ],
  "batch/v1": [...stored("batch"), subresource("jobs/status", "Job", ["get", "patch", "update"])],
  "coordination.k8s.io/v1": stored("coordination.k8s.io"),
  "scheduling.k8s.io/v1": stored("scheduling.k8s.io"),
};

function groupsWith(custom: readonly ResourceName[]): Groups {
  const groups: Record<string, readonly DiscoveredResource[]> = { ...BUILT_IN };
  for (const name of custom) {
    const type = typeOf(name);
    const groupVersion = `${type.group}/${type.version}`;
    const described = describe(type);
    const status = type.hasStatus ? [{ ...described, name: `${type.name}/status`, singularName: "" }] : [];
    groups[groupVersion] = [...(groups[groupVersion] ?? []), described, ...status];
  }
  return groups;
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}

function apiGroup(groupVersion: string) {
  const [name = "", version = ""] = groupVersion.split("/");
  const entry = { groupVersion, version };
  return { name, versions: [entry], preferredVersion: entry };
}

/**
 * The body for the path, or `undefined` when it is not one of these.
 * @param host as the client called the server
 * @param custom what its CustomResourceDefinitions define
 */
export function discover(
  path: string,
  host: string,
  custom: readonly ResourceName[],
): Record<string, unknown> | undefined {
  const clean = path.replace(/\/$/, "");
  const served = groupsWith(custom);
  const groups = Object.keys(served).filter((name) => name.includes("/"));
  if (clean === "/version") return VERSION;
  if (clean === "/api") {
    return {
      kind: "APIVersions",
      versions: ["v1"],
      serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: host }],
    };
  }
  if (clean === "/apis") return { kind: "APIGroupList", apiVersion: "v1", groups: groups.map(apiGroup) };
  if (clean === "/openapi/v3") {
    const paths = Object.keys(served).map((groupVersion) => {
      const key = groupVersion.includes("/") ? `apis/${groupVersion}` : `api/${groupVersion}`;
      return [key, { serverRelativeURL: `/openapi/v3/${key}?hash=embedded` }];
    });
    return { paths: Object.fromEntries(paths) };
  }
  const openApi = /^\/openapi\/v3\/(?:api|apis)\/(.+)$/.exec(clean)?.[1];
  if (openApi !== undefined) return served[openApi] === undefined ? undefined : openApiOf(openApi, served[openApi]);
  const groupVersion = /^\/(?:api|apis)\/(.+)$/.exec(clean)?.[1];
  if (groupVersion === undefined) return undefined;
  const resources = served[groupVersion];
  if (resources !== undefined) return { kind: "APIResourceList", apiVersion: "v1", groupVersion, resources };
  const group = groups.find((name) => name.startsWith(`${groupVersion}/`));
  return group === undefined ? undefined : { kind: "APIGroup", apiVersion: "v1", ...apiGroup(group) };
}

/**
 * Just what `kubectl create -f` and `apply` look for: that the server checks fields itself (`fieldValidation`), for each
 * kind. They would ask for `--validate=false` otherwise.
 */
function openApiOf(groupVersion: string, resources: readonly DiscoveredResource[]) {
  const [group, version] = groupVersion.includes("/") ? groupVersion.split("/") : ["", groupVersion];
  const root = groupVersion.includes("/") ? `/apis/${groupVersion}` : `/api/${groupVersion}`;
  const paths: Record<string, unknown> = {};
  for (const { name, kind, namespaced } of resources) {
    if (name.includes("/")) continue;
    paths[`${root}/${namespaced ? "namespaces/{namespace}/" : ""}${name}/{name}`] = {
      patch: {
        operationId: `patch${kind}`,
        parameters: ["dryRun", "fieldManager", "fieldValidation"].map((parameter) => ({
          name: parameter,
          in: "query",
          schema: { type: "string" },
        })),
        responses: { "200": { description: "OK" } },
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": { group, version, kind },
      },
    };
  }
  return { openapi: "3.0.0", info: { title: "Kubernetes", version: VERSION.gitVersion }, paths };
}
