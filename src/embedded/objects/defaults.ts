import { isRecord } from "../../json/read-json.ts";
import { defaultDefinition } from "./custom-resources.ts";
import { type Fields, fields } from "./field-errors.ts";
import { inOrder } from "./field-order.ts";
import type { NewObject } from "./objects.ts";
import type { ResourceName } from "./resources.ts";

/**
 * What the API server fills in. Two steps, since `managedFields` are taken between them: `applyDefaults` is what the
 * type's defaulting adds (owned by the client), `admit` (admission.ts) what the strategy and the admission plugins add.
 */

export function applyDefaults(resource: ResourceName, object: NewObject): void {
  switch (resource) {
    case "jobs":
      object.spec = defaultJobSpec(fields(object.spec));
      break;
    case "pods":
      object.spec = defaultPodSpec(fields(object.spec), true);
      break;
    case "secrets":
      defaultSecret(object);
      break;
    case "persistentvolumeclaims":
      object.spec = { volumeMode: "Filesystem", ...fields(object.spec) };
      break;
    case "leases":
      object.spec = fields(object.spec);
      break;
    case "priorityclasses":
      object.value ??= 0;
      object.preemptionPolicy ??= "PreemptLowerPriority";
      break;
    case "customresourcedefinitions":
      object.spec = defaultDefinition(fields(object.spec));
      break;
    case "namespaces":
      object.spec = { finalizers: ["kubernetes"], ...fields(object.spec) };
      break;
  }
}

/** In the order in which the server writes fields; others follow. */
const JOB_FIELDS =
  `parallelism completions activeDeadlineSeconds podFailurePolicy successPolicy backoffLimit selector manualSelector template
  ttlSecondsAfterFinished completionMode suspend podReplacementPolicy`.split(/\s+/);
const POD_FIELDS =
  `volumes initContainers containers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy nodeSelector
  serviceAccountName serviceAccount automountServiceAccountToken nodeName securityContext schedulerName enableServiceLinks`.split(
    /\s+/,
  );
const CONTAINER_FIELDS =
  `name image command args workingDir ports envFrom env resources restartPolicy volumeMounts livenessProbe readinessProbe
  startupProbe lifecycle terminationMessagePath terminationMessagePolicy imagePullPolicy`.split(/\s+/);

function defaultJobSpec(spec: Fields): Fields {
  const { parallelism, completions, backoffLimit, manualSelector, completionMode, suspend } = spec;
  const { podFailurePolicy, podReplacementPolicy } = spec;
  const template = fields(spec.template);
  return inOrder(JOB_FIELDS, {
    ...spec,
    // Only `completions` missing means: any number of pods, done when one succeeds.
    parallelism: parallelism ?? 1,
    completions: completions ?? (parallelism === undefined || parallelism === 1 ? 1 : undefined),
    backoffLimit: backoffLimit ?? 6,
    manualSelector: manualSelector ?? false,
    template: {
      ...template,
      metadata: fields(template.metadata),
      spec: defaultPodSpec(fields(template.spec), false),
    },
    completionMode: completionMode ?? "NonIndexed",
    suspend: suspend ?? false,
    podReplacementPolicy: podReplacementPolicy ?? (podFailurePolicy === undefined ? "TerminatingOrFailed" : "Failed"),
  });
}

function defaultPodSpec(spec: Fields, isPod: boolean): Fields {
  const { volumes, containers, serviceAccount, serviceAccountName } = spec;
  return inOrder(POD_FIELDS, {
    ...spec,
    volumes: each(volumes, defaultVolume),
    initContainers: each(spec.initContainers, defaultContainer),
    containers: each(containers, defaultContainer) ?? null,
    restartPolicy: spec.restartPolicy ?? "Always",
    terminationGracePeriodSeconds: spec.terminationGracePeriodSeconds ?? 30,
    dnsPolicy: spec.dnsPolicy ?? "ClusterFirst",
    serviceAccount: serviceAccount ?? serviceAccountName,
    securityContext: spec.securityContext ?? {},
    schedulerName: spec.schedulerName ?? "default-scheduler",
    enableServiceLinks: spec.enableServiceLinks ?? (isPod ? true : undefined),
  });
}

/** What is no list, or no object in one, stays as it is: validation refuses it. */
function each(items: unknown, defaulted: (item: Fields) => Fields): unknown {
  if (!Array.isArray(items)) return items;
  return items.map((item) => (isRecord(item) ? defaulted(item) : item));
}

function defaultContainer(container: Fields): Fields {
  const { image, ports, env, resources, terminationMessagePath, terminationMessagePolicy, imagePullPolicy } = container;
  return inOrder(CONTAINER_FIELDS, {
    ...container,
    ports: each(ports, (port) => ({ protocol: "TCP", ...port })),
    env: each(env, defaultEnv),
    resources: defaultResources(fields(resources)),
    terminationMessagePath: terminationMessagePath ?? "/dev/termination-log",
    terminationMessagePolicy: terminationMessagePolicy ?? "File",
    imagePullPolicy: imagePullPolicy ?? pullPolicyFor(image),
  });
}

function pullPolicyFor(image: unknown): string {
  if (typeof image !== "string") return "Always";
  if (image.includes("@")) return "IfNotPresent";
  const tag = /:([^/:]+)$/.exec(image)?.[1];
  return tag === undefined || tag === "latest" ? "Always" : "IfNotPresent";
}

function defaultEnv(entry: Fields): Fields {
  const fieldRef = fields(entry.valueFrom).fieldRef;
  if (!isRecord(fieldRef)) return entry;
  return { ...entry, valueFrom: { ...fields(entry.valueFrom), fieldRef: { apiVersion: "v1", ...fieldRef } } };
}

/** A limit without a request is also the request. */
function defaultResources(resources: Fields): Fields {
  if (!isRecord(resources.limits)) return resources;
  return { ...resources, requests: { ...resources.limits, ...fields(resources.requests) } };
}

function defaultVolume(volume: Fields): Fields {
  const copy = { ...volume };
  for (const kind of ["secret", "configMap", "projected", "downwardAPI"]) {
    const source = copy[kind];
    if (isRecord(source)) copy[kind] = { ...source, defaultMode: source.defaultMode ?? 0o644 };
  }
  if (Object.keys(copy).length === 1) copy.emptyDir = {};
  return copy;
}

function defaultSecret(secret: NewObject): void {
  if (isRecord(secret.stringData)) {
    const data: Fields = { ...fields(secret.data) };
    for (const [key, value] of Object.entries(secret.stringData)) {
      data[key] = typeof value === "string" ? Buffer.from(value).toString("base64") : value;
    }
    secret.data = data;
    delete secret.stringData;
  }
  secret.type ??= "Opaque";
}
