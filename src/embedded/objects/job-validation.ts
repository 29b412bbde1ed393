import { cloneJson, equalJson } from "../../json/json-object.ts";
import { isRecord } from "../../json/read-json.ts";
import { type Fields, fields, immutable, isAbsent, list, push, required, unsupported } from "./field-errors.ts";
import { validateLabels } from "./name-rules.ts";
import type { StoredObject } from "./objects.ts";
import { validatePodSpec } from "./pod-validation.ts";
import type { StatusCause } from "./status-error.ts";

const MANAGER = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?\/.+$/;

export function validateJobSpec(spec: Fields, causes: StatusCause[]): void {
  validateNumbers(spec, causes);
  const template = fields(spec.template);
  const podSpec = fields(template.spec);
  validateLabels("spec.template.labels", fields(template.metadata).labels, causes);
  validatePodSpec("spec.template.spec", podSpec, causes);
  if (podSpec.restartPolicy !== "Never" && podSpec.restartPolicy !== "OnFailure") {
    unsupported(causes, "spec.template.spec.restartPolicy", podSpec.restartPolicy, ["OnFailure", "Never"]);
  }
  if (isRecord(spec.podFailurePolicy)) validateFailurePolicy(spec, podSpec, causes);
  const { managedBy } = spec;
  if (typeof managedBy === "string" && !MANAGER.test(managedBy)) {
    push(causes, "spec.managedBy", managedBy, 'must be a domain-prefixed path (such as "acme.io/foo")');
  }
}

/** Fields of a Job's spec that are whole numbers. */
export const JOB_NUMBERS = [
  "parallelism",
  "completions",
  "backoffLimit",
  "activeDeadlineSeconds",
  "ttlSecondsAfterFinished",
];

function validateNumbers(spec: Fields, causes: StatusCause[]): void {
  for (const field of JOB_NUMBERS) {
    const value = spec[field];
    if (typeof value === "number" && value < 0) {
      push(causes, `spec.${field}`, value, "must be greater than or equal to 0");
    }
  }
}

/** KEP-3329 */
function validateFailurePolicy(spec: Fields, podSpec: Fields, causes: StatusCause[]): void {
  if (podSpec.restartPolicy !== "Never") {
    const rule = 'only "Never" is supported when podFailurePolicy is specified';
    push(causes, "spec.template.spec.restartPolicy", podSpec.restartPolicy, rule);
  }
  if (spec.podReplacementPolicy !== "Failed") {
    unsupported(causes, "spec.podReplacementPolicy", spec.podReplacementPolicy, ["Failed"]);
  }
  const names = [...list(podSpec.containers), ...list(podSpec.initContainers)].map(({ name }) => name);
  list(fields(spec.podFailurePolicy).rules).forEach(({ action, onExitCodes, onPodConditions }, i) => {
    const at = `spec.podFailurePolicy.rules[${i}]`;
    const actions = ["Count", "FailIndex", "FailJob", "Ignore"];
    if (!actions.includes(String(action))) unsupported(causes, `${at}.action`, action, actions);
    const hasConditions = list(onPodConditions).length > 0;
    if (isRecord(onExitCodes) === hasConditions) {
      const rule = hasConditions
        ? "specifying both OnExitCodes and OnPodConditions is not supported"
        : "specifying one of OnExitCodes and OnPodConditions is required";
      push(causes, at, "", rule);
    }
    if (!isRecord(onExitCodes)) return;
    const { containerName, operator, values } = onExitCodes;
    if (!isAbsent(containerName) && !names.includes(containerName)) {
      const rule = "must be one of the container or initContainer names in the pod template";
      push(causes, `${at}.onExitCodes.containerName`, containerName, rule);
    }
    if (operator !== "In" && operator !== "NotIn") {
      unsupported(causes, `${at}.onExitCodes.operator`, operator, ["In", "NotIn"]);
    }
    const codes = Array.isArray(values) ? values : [];
    if (codes.length === 0) required(causes, `${at}.onExitCodes.values`, ": at least one value is required");
    const zero = operator === "In" ? codes.indexOf(0) : -1;
    if (zero >= 0) push(causes, `${at}.onExitCodes.values[${zero}]`, 0, "must not be 0 for the In operator");
  });
}

/** What of a Job may change: how many pods, its deadlines, and a suspended one's needs of a node. */
export function validateJobUpdate(before: StoredObject, after: StoredObject, causes: StatusCause[]): void {
  const old = fields(before.spec);
  const spec = fields(after.spec);
  for (const field of ["selector", "completionMode", "managedBy", "podFailurePolicy"]) {
    if (!equalJson(old[field], spec[field])) immutable(causes, `spec.${field}`, spec[field]);
  }
  const fixed = (template: unknown) => (old.suspend === true ? fixedTemplate(template) : template);
  if (!equalJson(fixed(old.template), fixed(spec.template))) {
    immutable(causes, "spec.template", spec.template);
  }
  validateNumbers(spec, causes);
}

/**
 * A queue sets where a Job runs before it resumes it, again after each preemption (KEP-2926), and since 1.36 how much it
 * needs (KEP-5440).
 */
function fixedTemplate(template: unknown): unknown {
  const fixed = cloneJson(fields(template));
  const metadata = fields(fixed.metadata);
  delete metadata.labels;
  delete metadata.annotations;
  const spec = fields(fixed.spec);
  for (const field of ["nodeSelector", "tolerations", "schedulingGates", "affinity"]) delete spec[field];
  for (const container of [...list(spec.containers), ...list(spec.initContainers)]) delete container.resources;
  return fixed;
}
