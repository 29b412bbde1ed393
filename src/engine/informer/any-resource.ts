import { isDnsLabel, isDnsSubdomain } from "../../kubernetes-names.ts";
import type { KubeObject, ObjectMeta } from "../kubernetes.ts";
import type { InformerOptions } from "./informer.ts";
import type { Indexers } from "./store.ts";
import type { Trim } from "./trim.ts";

/** Which objects `engine.informer` watches, and what it keeps of them. */
export interface ResourceInformerOptions<T extends KubeObject> {
  /** API group, e.g. `example.com`. Default: the core group (ConfigMaps, Nodes, …). */
  group?: string | undefined;
  /** `v1`, `v1beta1` */
  version: string;
  /** As it stands in the API's paths: `configmaps`, `widgets`. */
  plural: string;
  /** One watch a namespace. Default: one watch over all namespaces, which resources without namespaces (Nodes) need. */
  namespaces?: readonly string[] | undefined;
  /** As kubectl takes it: `app=x,tier in (a,b)`. Default: all objects. */
  labelSelector?: string | undefined;
  /** `metadata.name=x`. Which fields can be selected by is up to the resource. */
  fieldSelector?: string | undefined;
  /** What the cache keeps of an object; null: pass it over. Default: all of it but `managedFields`. */
  trim?: Trim<T> | undefined;
  /** For `byIndex`: the key of each object, or null. */
  indexers?: Indexers<T> | undefined;
}

/** @throws TypeError naming the bad option */
export function anyResource<T extends KubeObject>(
  options: ResourceInformerOptions<T>,
  report: (error: unknown) => void,
): Pick<InformerOptions<T>, "resource" | "namespaces" | "labelSelector" | "fieldSelector" | "indexers"> {
  const { group = "", version, plural, namespaces = null, labelSelector, fieldSelector } = options;
  const { trim = whole<T>, indexers = {} } = options;
  if (group !== "" && !isDnsSubdomain(group)) throw badOption("group", "an API group such as example.com", group);
  if (!/^v[0-9][a-z0-9]*$/.test(String(version))) throw badOption("version", "an API version such as v1", version);
  if (!/^[a-z][a-z0-9]*$/.test(String(plural)))
    throw badOption("plural", "a resource's plural name such as configmaps", plural);
  if (namespaces !== null && (namespaces.length === 0 || !namespaces.every(isDnsLabel)))
    throw badOption("namespaces", "a list of namespace names, or left out for all", namespaces);
  return {
    resource: {
      plural,
      root: group === "" ? `/api/${version}` : `/apis/${group}/${version}`,
      trim: identified(trim, report),
    },
    namespaces,
    labelSelector,
    fieldSelector,
    indexers: Object.fromEntries(Object.entries(indexers).map(([name, keyOf]) => [name, guarded(keyOf, report)])),
  };
}

/** The caller's code runs on each frame: what it throws is reported, and the object passed over. */
function identified<T extends KubeObject>(trim: Trim<T>, report: (error: unknown) => void): Trim<T> {
  return (raw) => {
    const object = guarded(trim, report)(raw);
    const metadata: Partial<ObjectMeta> | undefined = object?.metadata;
    if (object === null || metadata === undefined) return null;
    const { name, uid, resourceVersion, namespace } = metadata;
    if (typeof name !== "string" || typeof uid !== "string" || typeof resourceVersion !== "string") return null;
    return typeof namespace === "string" ? object : { ...object, metadata: { ...object.metadata, namespace: "" } };
  };
}

/** The object was parsed for this cache alone, so it is changed in place. */
function whole<T extends KubeObject>(raw: unknown): T | null {
  const object = raw as (T & { metadata?: { managedFields?: unknown } }) | null;
  if (typeof object !== "object" || typeof object?.metadata !== "object") return null;
  delete object.metadata?.managedFields;
  return object;
}

function guarded<A, R>(call: (argument: A) => R, report: (error: unknown) => void): (argument: A) => R | null {
  return (argument) => {
    try {
      return call(argument);
    } catch (error) {
      report(error);
      return null;
    }
  };
}

function badOption(name: string, wanted: string, got: unknown): TypeError {
  return new TypeError(`${name} must be ${wanted}; got ${JSON.stringify(got)}`);
}
