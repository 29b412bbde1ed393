import { cloneJson } from "../../json/json-object.ts";
import { recordsIn } from "../../json/read-json.ts";
import { type Fields, fields } from "./field-errors.ts";
import type { NewObject } from "./objects.ts";
import { randomSuffix } from "./random-suffix.ts";
import type { ResourceName } from "./resources.ts";

/** What the strategy of a kind and the admission plugins add to a new object, after the defaults of its type. */
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
  const tolerations = recordsIn(spec.tolerations);
  spec.tolerations = [
    ...tolerations,
    ...EVICTION_TOLERATIONS.filter(({ key }) => !tolerations.some((toleration) => toleration.key === key)).map(
      cloneJson,
    ),
  ];
  pod.status = { phase: "Pending", ...gatedCondition(spec, pod.metadata.creationTimestamp), qosClass: qosClass(spec) };
}

/** KEP-3521: a pod with gates says from its birth on that it is not scheduled yet. */
function gatedCondition(spec: Fields, now: string | undefined): Fields {
  if (recordsIn(spec.schedulingGates).length === 0) return {};
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
  for (const container of [...recordsIn(spec.initContainers), ...recordsIn(spec.containers)]) {
    const mounts = recordsIn(container.volumeMounts);
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
  const volumes = recordsIn(spec.volumes);
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
  for (const container of [...recordsIn(spec.initContainers), ...recordsIn(spec.containers)]) {
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
