import { equalJson } from "../../json/json-object.ts";
import { MERGE_KEYS, strategicMerge } from "../../json/merge-patch.ts";
import { isRecord, recordsIn } from "../../json/read-json.ts";
import { ADAPTER_FIELDS, type PodPatch, shown } from "../config/pod-patch.ts";
import { ConfigError } from "../errors.ts";
import { CONTAINER_SECURITY, checkRestricted } from "./pod-security.ts";

type Fields = Readonly<Record<string, unknown>>;

interface Template {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
  readonly spec: Fields;
}

/** Of what the adapter sets a patch may change these; to everything else it can only add. `checkRestricted` judges what it makes. */
const MAY_CHANGE = new Set([
  "nodeSelector",
  "tolerations",
  "dnsConfig",
  "imagePullSecrets",
  "securityContext",
  "resources",
]);

/** Of the agent's container, where the adapter leaves them out. */
const NOT_OF_THE_AGENT = ["args", "restartPolicy", "restartPolicyRules"];

/** Keys of the configuration, by the field that they set. */
const KEY_OF: Readonly<Record<string, string>> = {
  image: "image",
  imagePullPolicy: "imagePullPolicy",
  workingDir: "cwd",
  value: "env",
};

/**
 * The pod template with the patch merged into it. The patch cannot take away what the adapter relies on: labels (guard, adoption
 * and watches select by them), the agent's container with its command, variables and mounts, and the `restricted` profile.
 *
 * @param containerName of the agent's container
 * @param exempt name of a container that need not be restricted
 * @throws ConfigError naming the field of the patch
 */
export function patchTemplate<T extends Template>(
  template: T,
  patch: PodPatch | null,
  { containerName, exempt }: { containerName: string; exempt: string | null },
): T {
  if (patch === null) return template;
  const patched = strategicMerge(template, patch);
  checkKept("podPatch", template, patched, "");
  const { metadata, spec: merged } = patched as Template & { metadata: { annotations?: Fields } };
  for (const [field, instead] of Object.entries(ADAPTER_FIELDS)) {
    const isSame = equalJson(merged[field], template.spec[field]);
    // Of a switch that is what it is without it.
    if (!isSame && merged[field] !== false) throw own(`podPatch.spec.${field}`, merged[field], instead);
  }
  const spec = {
    ...merged,
    ...restricted("initContainers", merged, template.spec),
    ...restricted("containers", merged, template.spec),
  };
  const agent = recordsIn(spec.containers).find(({ name }) => name === containerName);
  for (const field of NOT_OF_THE_AGENT) {
    const path = `podPatch.spec.containers.${containerName}.${field}`;
    if (agent?.[field] !== undefined) throw own(path, agent[field], "the adapter starts the agent, once");
  }
  checkRestricted(metadata.annotations ?? {}, spec, exempt);
  return { ...(patched as T), spec };
}

/** Everything in `before` stands in `after`, too. */
function checkKept(path: string, before: unknown, after: unknown, field: string): void {
  if (MAY_CHANGE.has(field)) return;
  const key = MERGE_KEYS[field];
  if (Array.isArray(before) && key !== undefined) {
    for (const item of before) {
      const name = item[key];
      const other = Array.isArray(after) ? after.find((each) => isRecord(each) && each[key] === name) : undefined;
      checkKept(`${path}.${name}`, item, other, "");
    }
  } else if (isRecord(before)) {
    if (!isRecord(after)) throw own(path, after);
    for (const [name, value] of Object.entries(before)) checkKept(`${path}.${name}`, value, after[name], name);
  } else if (!equalJson(before, after)) {
    throw own(path, after, ADAPTER_FIELDS[field] ?? (KEY_OF[field] && `set the key ${KEY_OF[field]} instead`));
  }
}

function own(path: string, got: unknown, instead = "a patch can only add to it"): ConfigError {
  return new ConfigError(path, got === undefined ? "nothing" : shown(got), `what the adapter sets there: ${instead}`);
}

/** Containers that the patch adds get the agent's security context where they do not say otherwise. */
function restricted(kind: "containers" | "initContainers", spec: Fields, before: Fields): Fields {
  const ours = new Set(recordsIn(before[kind]).map(({ name }) => name));
  const containers = recordsIn(spec[kind]).map((container) => {
    const { name, image, securityContext } = container;
    if (ours.has(name)) return container;
    if (typeof image !== "string" || image === "") {
      throw new ConfigError(
        `podPatch.spec.${kind}.${name}.image`,
        shown(image),
        "an image, of a container that the patch adds",
      );
    }
    return {
      ...container,
      securityContext: { ...CONTAINER_SECURITY, ...(isRecord(securityContext) ? securityContext : {}) },
    };
  });
  return containers.length === 0 ? {} : { [kind]: containers };
}
