import { type Fields, fields, list, push, required, unsupported } from "./field-errors.ts";
import type { StoredObject } from "./objects.ts";
import { defineCustom, type ResourceName, resourceType } from "./resources.ts";
import type { StatusCause } from "./status-error.ts";

/**
 * CustomResourceDefinitions. Objects of the kinds that they define are kept as they are: no schema is checked, nothing is pruned or
 * converted, and the version that is stored is the only one that is served.
 */

export function defaultDefinition(spec: Fields): Fields {
  const names = fields(spec.names);
  const { kind } = names;
  const named = typeof kind === "string" ? { listKind: `${kind}List`, singular: kind.toLowerCase() } : {};
  return { conversion: { strategy: "None" }, ...spec, names: { ...named, ...names } };
}

export function validateDefinition(name: string, spec: Fields, causes: StatusCause[]): void {
  const { group, scope } = spec;
  const { plural, kind } = fields(spec.names);
  for (const [field, value] of Object.entries({
    "spec.group": group,
    "spec.names.plural": plural,
    "spec.names.kind": kind,
  })) {
    if (typeof value === "string" && value !== "") continue;
    required(causes, field);
  }
  if (name !== `${plural}.${group}`) push(causes, "metadata.name", name, 'must be spec.names.plural+"."+spec.group');
  if (scope !== "Cluster" && scope !== "Namespaced") {
    unsupported(causes, "spec.scope", scope ?? "", ["Cluster", "Namespaced"]);
  }
  if (storedVersions(spec).length !== 1) {
    push(causes, "spec.versions", spec.versions, "must have exactly one version marked as storage version");
  }
}

/** From now on the kind can be asked for. @returns the resource */
export function define({ metadata, spec }: StoredObject): ResourceName {
  const { group, scope, names } = fields(spec);
  const { plural, kind, shortNames = [], categories = [] } = fields(names) as Record<string, string & string[]>;
  const [version = {}] = storedVersions(fields(spec));
  const name = metadata.name as ResourceName;
  const type = {
    group: String(group),
    version: String(version.name),
    namespaced: scope === "Namespaced",
    shortNames,
    categories,
    hasGeneration: true,
    updateNeedsVersion: true,
    hasStatus: fields(version.subresources).status !== undefined,
  };
  defineCustom(name, resourceType(String(plural), String(kind), type));
  return name;
}

function storedVersions({ versions }: Fields): Fields[] {
  return list(versions).filter(({ storage }) => storage === true);
}
