import { isRecord } from "../../json/read-json.ts";
import { defaultDefinition } from "./custom-resources.ts";
import { type Fields, fields } from "./field-errors.ts";
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

function defaultJobSpec(spec: Fields): Fields {
  const { parallelism, completions, activeDeadlineSeconds, podFailurePolicy, successPolicy, backoffLimit, ...rest } =
    spec;
  const {
    selector,
    manualSelector,
    template,
    ttlSecondsAfterFinished,
    completionMode,
    suspend,
    podReplacementPolicy,
    ...more
  } = rest;
  const pod = fields(template);
  return defined({
    // Only `completions` missing means: any number of pods, done when one succeeds.
    parallelism: parallelism ?? 1,
    completions: completions ?? (parallelism === undefined || parallelism === 1 ? 1 : undefined),
    activeDeadlineSeconds,
    podFailurePolicy,
    successPolicy,
    backoffLimit: backoffLimit ?? 6,
    selector,
    manualSelector: manualSelector ?? false,
    template: {
      ...pod,
      metadata: fields(pod.metadata),
      spec: defaultPodSpec(fields(pod.spec), false),
    },
    ttlSecondsAfterFinished,
    completionMode: completionMode ?? "NonIndexed",
    suspend: suspend ?? false,
    podReplacementPolicy: podReplacementPolicy ?? (podFailurePolicy === undefined ? "TerminatingOrFailed" : "Failed"),
    ...more,
  });
}

/** Fields in the order in which the server writes them, without the missing ones. */
function defined(object: Fields): Fields {
  for (const key of Object.keys(object)) if (object[key] === undefined) delete object[key];
  return object;
}

function defaultPodSpec(spec: Fields, isPod: boolean): Fields {
  const {
    volumes,
    initContainers,
    containers,
    restartPolicy,
    terminationGracePeriodSeconds,
    activeDeadlineSeconds,
    dnsPolicy,
    nodeSelector,
    serviceAccountName,
    serviceAccount,
    automountServiceAccountToken,
    nodeName,
    securityContext,
    schedulerName,
    enableServiceLinks,
    ...rest
  } = spec;
  return defined({
    volumes: Array.isArray(volumes)
      ? volumes.map((volume) => (isRecord(volume) ? defaultVolume(volume) : volume))
      : volumes,
    initContainers: defaultContainers(initContainers),
    containers: defaultContainers(containers) ?? null,
    restartPolicy: restartPolicy ?? "Always",
    terminationGracePeriodSeconds: terminationGracePeriodSeconds ?? 30,
    activeDeadlineSeconds,
    dnsPolicy: dnsPolicy ?? "ClusterFirst",
    nodeSelector,
    serviceAccountName,
    serviceAccount: serviceAccount ?? serviceAccountName,
    automountServiceAccountToken,
    nodeName,
    securityContext: securityContext ?? {},
    schedulerName: schedulerName ?? "default-scheduler",
    enableServiceLinks: enableServiceLinks ?? (isPod ? true : undefined),
    ...rest,
  });
}

function defaultContainers(containers: unknown): unknown {
  if (!Array.isArray(containers)) return containers;
  return containers.map((container) => (isRecord(container) ? defaultContainer(container) : container));
}

function defaultContainer(container: Fields): Fields {
  const {
    name,
    image,
    command,
    args,
    workingDir,
    ports,
    envFrom,
    env,
    resources,
    restartPolicy,
    volumeMounts,
    livenessProbe,
    readinessProbe,
    startupProbe,
    lifecycle,
    terminationMessagePath,
    terminationMessagePolicy,
    imagePullPolicy,
    ...rest
  } = container;
  return defined({
    name,
    image,
    command,
    args,
    workingDir,
    ports: Array.isArray(ports) ? ports.map((port) => (isRecord(port) ? { protocol: "TCP", ...port } : port)) : ports,
    envFrom,
    env: Array.isArray(env) ? env.map((entry) => (isRecord(entry) ? defaultEnv(entry) : entry)) : env,
    resources: defaultResources(fields(resources)),
    restartPolicy,
    volumeMounts,
    livenessProbe,
    readinessProbe,
    startupProbe,
    lifecycle,
    terminationMessagePath: terminationMessagePath ?? "/dev/termination-log",
    terminationMessagePolicy: terminationMessagePolicy ?? "File",
    imagePullPolicy: imagePullPolicy ?? pullPolicyFor(image),
    ...rest,
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
