import { randomInt } from "node:crypto";
import { cloneJson, isRecord } from "./json-object.ts";
import type { NewObject } from "./objects.ts";
import type { ResourceName } from "./resources.ts";

/**
 * What the API server fills in. Two steps, since `managedFields` are taken between them: `applyDefaults` is what the
 * type's defaulting adds (owned by the client), `admit` what the strategy and the admission plugins add.
 */

type Fields = Record<string, unknown>;

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
    case "namespaces":
      object.spec = { finalizers: ["kubernetes"], ...fields(object.spec) };
      break;
  }
}

export function admit(resource: ResourceName, object: NewObject & { metadata: { uid: string; name: string } }): void {
  switch (resource) {
    case "jobs":
      labelTemplate(object);
      object.status = {};
      break;
    case "pods":
      admitPod(object);
      break;
    case "persistentvolumeclaims":
      object.status ??= { phase: "Bound" };
      break;
    case "namespaces":
      object.metadata.labels = { "kubernetes.io/metadata.name": object.metadata.name, ...object.metadata.labels };
      object.status = { phase: "Active" };
      break;
  }
}

function fields(value: unknown): Fields {
  return isRecord(value) ? value : {};
}

function items(value: unknown): Fields[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
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

/** The Job strategy: a generated selector over the Job's uid, and the labels that its pods carry. */
function labelTemplate(job: NewObject & { metadata: { uid: string; name: string } }): void {
  const { uid, name } = job.metadata;
  const spec = job.spec as Fields;
  const template = spec.template as Fields;
  const metadata = fields(template.metadata);
  if (spec.manualSelector !== true) {
    spec.selector = { matchLabels: { "batch.kubernetes.io/controller-uid": uid } };
    metadata.labels = sorted({
      ...fields(metadata.labels),
      "batch.kubernetes.io/controller-uid": uid,
      "batch.kubernetes.io/job-name": name,
      "controller-uid": uid,
      "job-name": name,
    });
  }
  template.metadata = metadata;
}

function sorted(map: Fields): Fields {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
}

const EVICTION_TOLERATIONS = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map((key) => ({
  key,
  operator: "Exists",
  effect: "NoExecute",
  tolerationSeconds: 300,
}));

function admitPod(pod: NewObject & { metadata: { creationTimestamp?: string } }): void {
  const spec = pod.spec as Fields;
  const token = `kube-api-access-${randomSuffix()}`;
  spec.serviceAccountName ??= "default";
  spec.serviceAccount = spec.serviceAccountName;
  if (spec.automountServiceAccountToken !== false) mountServiceAccountToken(spec, token);
  const tolerations = items(spec.tolerations);
  spec.tolerations = [
    ...tolerations,
    ...EVICTION_TOLERATIONS.filter(({ key }) => !tolerations.some((toleration) => toleration.key === key)).map(
      cloneJson,
    ),
  ];
  spec.priority ??= 0;
  spec.preemptionPolicy ??= "PreemptLowerPriority";
  pod.status = { phase: "Pending", ...gatedCondition(spec, pod.metadata.creationTimestamp), qosClass: qosClass(spec) };
}

/** KEP-3521: a pod with gates says from its birth on that it is not scheduled yet. */
function gatedCondition(spec: Fields, now: string | undefined): Fields {
  if (items(spec.schedulingGates).length === 0) return {};
  const condition = {
    type: "PodScheduled",
    status: "False",
    lastProbeTime: null,
    lastTransitionTime: now,
    reason: "SchedulingGated",
    message: "Scheduling is blocked due to non-empty scheduling gates",
  };
  return { conditions: [condition] };
}

function mountServiceAccountToken(spec: Fields, name: string): void {
  const mountPath = "/var/run/secrets/kubernetes.io/serviceaccount";
  for (const container of [...items(spec.initContainers), ...items(spec.containers)]) {
    const mounts = items(container.volumeMounts);
    if (mounts.some((mount) => mount.mountPath === mountPath)) continue;
    container.volumeMounts = [...mounts, { name, readOnly: true, mountPath }];
  }
  const config = (configMap: string, key: string) => ({ configMap: { name: configMap, items: [{ key, path: key }] } });
  const volume = {
    name,
    projected: {
      sources: [
        { serviceAccountToken: { expirationSeconds: 3607, path: "token" } },
        config("kube-root-ca.crt", "ca.crt"),
        {
          downwardAPI: {
            items: [{ path: "namespace", fieldRef: { apiVersion: "v1", fieldPath: "metadata.namespace" } }],
          },
        },
        config("openshift-service-ca.crt", "service-ca.crt"),
      ],
      defaultMode: 0o644,
    },
  };
  const volumes = items(spec.volumes);
  if (spec.volumes === undefined) {
    // `volumes` is the first field of a pod spec.
    const rest = { ...spec };
    for (const key of Object.keys(spec)) delete spec[key];
    Object.assign(spec, { volumes: [volume] }, rest);
  } else spec.volumes = [...volumes, volume];
}

function qosClass(spec: Fields): "BestEffort" | "Burstable" | "Guaranteed" {
  let any = false;
  let all = true;
  for (const container of [...items(spec.initContainers), ...items(spec.containers)]) {
    const limits = fields(fields(container.resources).limits);
    const requests = fields(fields(container.resources).requests);
    for (const name of ["cpu", "memory"]) {
      if (limits[name] !== undefined || requests[name] !== undefined) any = true;
      if (limits[name] === undefined || String(limits[name]) !== String(requests[name])) all = false;
    }
  }
  if (!any) return "BestEffort";
  return all ? "Guaranteed" : "Burstable";
}

/** Without vowels and digits that look like letters: no words, no doubt (apimachinery `rand.String`). */
const SAFE_CHARACTERS = "bcdfghjklmnpqrstvwxz2456789";

export function randomSuffix(length = 5): string {
  let text = "";
  for (let i = 0; i < length; i++) text += SAFE_CHARACTERS.charAt(randomInt(SAFE_CHARACTERS.length));
  return text;
}
