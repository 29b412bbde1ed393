import { equalJson } from "../../json/json-object.ts";
import { isRecord } from "../../json/read-json.ts";
import { duplicate, type Fields, fields, forbidden, list, push, required, unsupported } from "./field-errors.ts";
import { DNS_LABEL, DNS_LABEL_RULE, ENV_NAME } from "./name-rules.ts";
import { parseQuantity } from "./quantity.ts";
import type { StatusCause } from "./status-error.ts";

const MAX_INT32 = 2 ** 31 - 1;
const MAX_RESTART_RULES = 20;
const MAX_EXIT_CODES = 255;

export function validatePodSpec(path: string, spec: Fields, causes: StatusCause[]): void {
  const volumes = new Set<unknown>();
  list(spec.volumes).forEach((volume, i) => {
    const name = String(volume.name ?? "");
    const at = `${path}.volumes[${i}].name`;
    if (name === "") required(causes, at);
    else if (!DNS_LABEL.test(name) || name.length > 63) push(causes, at, name, DNS_LABEL_RULE);
    if (volumes.has(name)) duplicate(causes, at, name);
    volumes.add(name);
  });
  const deadline = spec.activeDeadlineSeconds;
  if (typeof deadline === "number" && (deadline < 1 || deadline > MAX_INT32)) {
    push(causes, `${path}.activeDeadlineSeconds`, deadline, `must be between 1 and ${MAX_INT32}, inclusive`);
  }
  const names = new Set<string>();
  if (list(spec.containers).length === 0) required(causes, `${path}.containers`);
  for (const field of ["containers", "initContainers"]) {
    list(spec[field]).forEach((container, i) => {
      const at = `${path}.${field}[${i}]`;
      const name = String(container.name ?? "");
      if (names.has(name)) duplicate(causes, `${at}.name`, name);
      names.add(name);
      validateContainer(at, name, container, volumes, causes);
    });
  }
}

function validateContainer(
  path: string,
  name: string,
  container: Fields,
  volumes: Set<unknown>,
  causes: StatusCause[],
): void {
  if (name === "") required(causes, `${path}.name`);
  else if (!DNS_LABEL.test(name) || name.length > 63) push(causes, `${path}.name`, name, DNS_LABEL_RULE);
  if (typeof container.image !== "string" || container.image === "") required(causes, `${path}.image`);
  list(container.env).forEach((entry, i) => {
    const key = String(entry.name ?? "");
    if (key === "") required(causes, `${path}.env[${i}].name`);
    else if (!ENV_NAME.test(key)) {
      push(
        causes,
        `${path}.env[${i}].name`,
        key,
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
      );
    }
    if (isRecord(entry.valueFrom) && typeof entry.value === "string" && entry.value !== "") {
      push(causes, `${path}.env[${i}].valueFrom`, "", "may not be specified when `value` is not empty");
    }
  });
  const paths = new Set<unknown>();
  list(container.volumeMounts).forEach((mount, i) => {
    const at = `${path}.volumeMounts[${i}]`;
    if (typeof mount.mountPath !== "string" || mount.mountPath === "") required(causes, `${at}.mountPath`);
    if (!volumes.has(mount.name)) {
      causes.push({
        reason: "FieldValueNotFound",
        message: `Not found: ${JSON.stringify(mount.name)}`,
        field: `${at}.name`,
      });
    }
    if (paths.has(mount.mountPath)) push(causes, `${at}.mountPath`, mount.mountPath, "must be unique");
    paths.add(mount.mountPath);
    if (typeof mount.subPath === "string") {
      if (mount.subPath.startsWith("/")) push(causes, `${at}.subPath`, mount.subPath, "must be a relative path");
      if (mount.subPath.split("/").includes(".."))
        push(causes, `${at}.subPath`, mount.subPath, "must not contain '..'");
    }
  });
  validateRestartRules(path, container, causes);
  const resources = fields(container.resources);
  const limits = fields(resources.limits);
  for (const [resource, request] of Object.entries(fields(resources.requests))) {
    const limit = limits[resource];
    if (limit !== undefined && parseQuantity(String(request)) > parseQuantity(String(limit))) {
      push(
        causes,
        `${path}.resources.requests`,
        request,
        `must be less than or equal to ${resource} limit of ${limit}`,
      );
    }
  }
}

/** KEP-5307: rules need a policy for the exits that none of them is for. */
function validateRestartRules(path: string, container: Fields, causes: StatusCause[]): void {
  const { restartPolicy, restartPolicyRules } = container;
  const rules = list(restartPolicyRules);
  if (restartPolicy !== undefined && !["Always", "Never", "OnFailure"].includes(String(restartPolicy))) {
    unsupported(causes, `${path}.restartPolicy`, restartPolicy, ["Always", "Never", "OnFailure"]);
  }
  if (rules.length > 0 && restartPolicy === undefined) {
    required(causes, `${path}.restartPolicy`, ": must specify restartPolicy when restartPolicyRules are specified");
  }
  if (rules.length > MAX_RESTART_RULES) tooMany(causes, `${path}.restartPolicyRules`, rules.length, MAX_RESTART_RULES);
  for (const [i, { action, exitCodes }] of rules.entries()) {
    const at = `${path}.restartPolicyRules[${i}]`;
    if (action !== "Restart" && action !== "RestartAllContainers") {
      unsupported(causes, `${at}.action`, action, ["Restart", "RestartAllContainers"]);
    }
    if (!isRecord(exitCodes)) {
      required(causes, `${at}.exitCodes`, ": must be specified");
      continue;
    }
    const { operator, values } = exitCodes;
    if (operator !== "In" && operator !== "NotIn") {
      unsupported(causes, `${at}.exitCodes.operator`, operator, ["In", "NotIn"]);
    }
    const count = Array.isArray(values) ? values.length : 0;
    if (count === 0) required(causes, `${at}.exitCodes.values`, ": must specify at least one value");
    if (count > MAX_EXIT_CODES) tooMany(causes, `${at}.exitCodes.values`, count, MAX_EXIT_CODES);
  }
}

function tooMany(causes: StatusCause[], field: string, count: number, most: number): void {
  const message = `Too many: ${count}: must have at most ${most} items`;
  causes.push({ reason: "FieldValueTooMany", message, field });
}

/** What of a pod's spec may change: images, a shorter deadline, more tolerations, fewer scheduling gates. */
export function validatePodUpdate(before: Fields, after: Fields, causes: StatusCause[]): void {
  const oldGates = list(before.schedulingGates);
  if (list(after.schedulingGates).some((gate) => !oldGates.some((old) => old.name === gate.name))) {
    forbidden(causes, "spec.schedulingGates", "only deletion is allowed, but found new scheduling gates");
  }
  if (equalJson(fixedPart(before), fixedPart(after))) return;
  forbidden(
    causes,
    "spec",
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
  );
}

function fixedPart(spec: Fields): Fields {
  const withoutImages = (containers: unknown) =>
    Array.isArray(containers)
      ? containers.map((item) => (isRecord(item) ? { ...item, image: undefined } : item))
      : containers;
  return {
    ...spec,
    containers: withoutImages(spec.containers),
    initContainers: withoutImages(spec.initContainers),
    activeDeadlineSeconds: undefined,
    tolerations: undefined,
    terminationGracePeriodSeconds: undefined,
    schedulingGates: undefined,
  };
}
