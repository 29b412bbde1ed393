import { isRecord } from "../../json/read-json.ts";
import { isLabelKey, isLabelValue } from "../../kubernetes-names.ts";
import { ConfigError } from "../errors.ts";
import { isUnset } from "./config-reader.ts";

type Fields = Readonly<Record<string, unknown>>;

/** A strategic merge patch of the Job's pod template; `patchTemplate` applies it. */
export interface PodPatch {
  readonly metadata?: { readonly labels?: Fields; readonly annotations?: Fields };
  readonly spec?: Fields;
}

/** Fields of a pod's spec that a patch may set. One that is not here is a typing error, or the adapter's own. */
const POD_FIELDS = new Set(
  `affinity containers dnsConfig dnsPolicy enableServiceLinks hostAliases hostname hostnameOverride hostUsers imagePullSecrets
  initContainers nodeSelector os overhead preemptionPolicy priority priorityClassName readinessGates resourceClaims resources
  runtimeClassName schedulerName schedulingGates securityContext setHostnameAsFQDN shareProcessNamespace subdomain tolerations
  topologySpreadConstraints volumes`.split(/\s+/),
);

/** Fields that are the adapter's, and what to do instead. A patch may repeat the value that the adapter sets. */
export const ADAPTER_FIELDS: Readonly<Record<string, string>> = {
  activeDeadlineSeconds: "set the key timeoutSec instead",
  automountServiceAccountToken: "set the key serviceAccountName for an agent that needs a token",
  ephemeralContainers: "they can only be added to a pod that runs",
  hostIPC: "the pod shares nothing with its node",
  hostNetwork: "the pod shares nothing with its node",
  hostPID: "the pod shares nothing with its node",
  nodeName: "set nodeSelector or an affinity instead",
  restartPolicy: "a run's agent is started once",
  serviceAccount: "set the key serviceAccountName instead",
  serviceAccountName: "set the key serviceAccountName instead",
  terminationGracePeriodSeconds: "the host waits no longer for a run that was stopped",
};

const CONTAINER_FIELDS = new Set(
  `args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy resources
  restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty
  volumeDevices volumeMounts workingDir`.split(/\s+/),
);

/** Of more levels no pod has a use, and a walk through them would end the stack. */
const MAX_DEPTH = 32;

/** Of the label prefixes that are the adapter's own. */
const RESERVED_PREFIXES = ["paperclip.io/", "app.kubernetes.io/"];

export function isReservedLabel(key: string): boolean {
  return RESERVED_PREFIXES.some((prefix) => key.startsWith(prefix));
}

/**
 * Reads the key `podPatch`, an object or its JSON, and checks its form: what can be seen without the pod that it is for.
 * @throws ConfigError
 */
export function readPodPatch(value: unknown): PodPatch | null {
  if (isUnset(value)) return null;
  const patch = typeof value === "string" ? parse(value) : value;
  const { metadata, spec, ...others } = fields("podPatch", patch);
  checkDepth(patch, 0);
  known("podPatch", others, () => false, "metadata and spec only: fields of the pod stand in spec");
  if (!isUnset(metadata)) checkMetadata(fields("podPatch.metadata", metadata));
  if (!isUnset(spec)) checkSpec(fields("podPatch.spec", spec));
  // A form writes null for what is not set; in a patch it would delete.
  return Object.fromEntries(Object.entries(fields("podPatch", patch)).filter(([, each]) => !isUnset(each)));
}

/** For an error: a structure may hold secrets, so it shows only the structure's form. */
export function shown(value: unknown): unknown {
  if (Array.isArray(value)) return "a list";
  return isRecord(value) ? "an object" : value;
}

/** Not quoted: it may hold a credential. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ConfigError("podPatch", `a text of ${text.length} characters`, "an object, or its JSON");
  }
}

function fields(path: string, value: unknown): Fields {
  if (!isRecord(value)) throw new ConfigError(path, shown(value), "an object");
  return value;
}

/** A directive (`$patch`, `$retainKeys`, …) may stand everywhere. */
function known(path: string, given: Fields, isKnown: (name: string) => boolean, expected: string): void {
  for (const [name, value] of Object.entries(given)) {
    if (!name.startsWith("$") && !isKnown(name)) throw new ConfigError(`${path}.${name}`, shown(value), expected);
  }
}

function checkDepth(value: unknown, depth: number): void {
  if (typeof value !== "object" || value === null) return;
  if (depth > MAX_DEPTH) throw new ConfigError("podPatch", "more", `at most ${MAX_DEPTH} levels of objects and lists`);
  for (const each of Object.values(value)) checkDepth(each, depth + 1);
}

function checkMetadata(metadata: Fields): void {
  const isKnown = (name: string) => name === "labels" || name === "annotations";
  known("podPatch.metadata", metadata, isKnown, "labels and annotations only");
  for (const kind of ["labels", "annotations"]) {
    if (isUnset(metadata[kind])) continue;
    const path = `podPatch.metadata.${kind}`;
    for (const [key, value] of Object.entries(fields(path, metadata[kind]))) {
      if (key.startsWith("$")) continue;
      if (!isLabelKey(key)) throw new ConfigError(path, key, "keys such as example.com/name");
      if (isReservedLabel(key)) {
        throw new ConfigError(
          `${path}.${key}`,
          shown(value),
          `no key that begins with ${RESERVED_PREFIXES.join(" or ")}`,
        );
      }
      if (value === null) continue;
      if (typeof value !== "string" || (kind === "labels" && !isLabelValue(value))) {
        throw new ConfigError(`${path}.${key}`, shown(value), kind === "labels" ? "a label value" : "a text");
      }
    }
  }
}

function checkSpec(spec: Fields): void {
  const isKnown = (name: string) => POD_FIELDS.has(name) || Object.hasOwn(ADAPTER_FIELDS, name);
  known("podPatch.spec", spec, isKnown, `one of ${[...POD_FIELDS].join(", ")}`);
  for (const list of ["containers", "initContainers", "volumes"]) {
    const items = spec[list];
    if (isUnset(items)) continue;
    const path = `podPatch.spec.${list}`;
    if (!Array.isArray(items)) throw new ConfigError(path, shown(items), "a list");
    for (const [index, item] of items.entries()) {
      const { name, ...rest } = fields(`${path}.${index}`, item);
      if (name === undefined && "$patch" in rest) continue;
      if (typeof name !== "string" || name === "")
        throw new ConfigError(`${path}.${index}.name`, shown(name), "a name");
      if (list === "volumes") continue;
      known(`${path}.${name}`, rest, (field) => CONTAINER_FIELDS.has(field), "a field of a container");
    }
  }
}
