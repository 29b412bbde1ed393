import { type Fields, fields, list } from "../../objects/field-errors.ts";
import type { StoredObject } from "../../objects/objects.ts";
import type { ResourceName } from "../../objects/resources.ts";

/** Server-side printing (`meta.k8s.io/v1 Table`): what `kubectl get` shows. */

type Cell = string | number;
interface Column {
  name: string;
  /** Shown with `-o wide` only. */
  wide?: boolean;
  cell(object: StoredObject, now: number): Cell;
}

const NAME: Column = { name: "Name", cell: ({ metadata }) => metadata.name };
const AGE: Column = { name: "Age", cell: ({ metadata }, now) => since(metadata.creationTimestamp, now) };

const COLUMNS: Readonly<Partial<Record<ResourceName, readonly Column[]>>> = {
  configmaps: [NAME, { name: "Data", cell: ({ data }) => Object.keys(fields(data)).length }, AGE],
  events: [
    {
      name: "Last Seen",
      cell: (event, now) =>
        since(String(event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp), now),
    },
    { name: "Type", cell: ({ type }) => text(type) },
    { name: "Reason", cell: ({ reason }) => text(reason) },
    {
      name: "Object",
      cell: ({ involvedObject }) =>
        `${text(fields(involvedObject).kind).toLowerCase()}/${text(fields(involvedObject).name)}`,
    },
    { name: "Message", cell: ({ message }) => text(message).trim() },
  ],
  jobs: [
    NAME,
    { name: "Status", cell: jobStatus },
    {
      name: "Completions",
      cell: ({ spec, status }) => `${Number(fields(status).succeeded ?? 0)}/${Number(fields(spec).completions ?? 1)}`,
    },
    { name: "Duration", cell: jobDuration },
    AGE,
    {
      name: "Containers",
      wide: true,
      cell: (job) =>
        templateContainers(job)
          .map(({ name }) => text(name))
          .join(","),
    },
    {
      name: "Images",
      wide: true,
      cell: (job) =>
        templateContainers(job)
          .map(({ image }) => text(image))
          .join(","),
    },
  ],
  leases: [NAME, { name: "Holder", cell: ({ spec }) => text(fields(spec).holderIdentity) }, AGE],
  namespaces: [NAME, { name: "Status", cell: ({ status }) => text(fields(status).phase) }, AGE],
  nodes: [
    NAME,
    { name: "Status", cell: nodeStatus },
    { name: "Roles", cell: () => "<none>" },
    AGE,
    { name: "Version", cell: ({ status }) => text(fields(fields(status).nodeInfo).kubeletVersion) },
  ],
  persistentvolumeclaims: [
    NAME,
    { name: "Status", cell: ({ status }) => text(fields(status).phase) },
    { name: "Volume", cell: ({ spec }) => text(fields(spec).volumeName) },
    { name: "Capacity", cell: ({ status }) => text(fields(fields(status).capacity).storage) },
    { name: "Access Modes", cell: ({ spec }) => text(fields(spec).accessModes) },
    { name: "StorageClass", cell: ({ spec }) => text(fields(spec).storageClassName) },
    AGE,
  ],
  pods: [
    NAME,
    { name: "Ready", cell: podReady },
    { name: "Status", cell: podStatus },
    {
      name: "Restarts",
      cell: (pod) => statuses(pod).reduce((sum, { restartCount }) => sum + Number(restartCount ?? 0), 0),
    },
    AGE,
    { name: "IP", wide: true, cell: ({ status }) => text(fields(status).podIP) || "<none>" },
    { name: "Node", wide: true, cell: ({ spec }) => text(fields(spec).nodeName) || "<none>" },
  ],
  priorityclasses: [
    NAME,
    { name: "Value", cell: ({ value }) => Number(value ?? 0) },
    { name: "Global-Default", cell: ({ globalDefault }) => String(globalDefault === true) },
    AGE,
  ],
  secrets: [
    NAME,
    { name: "Type", cell: ({ type }) => text(type) },
    { name: "Data", cell: ({ data }) => Object.keys(fields(data)).length },
    AGE,
  ],
  serviceaccounts: [NAME, AGE],
};

export interface TableOptions {
  includeObject: "None" | "Metadata" | "Object";
  now: number;
}

/** `metadata`: of the list, or of the one object. */
export function table(
  resource: ResourceName,
  objects: readonly StoredObject[],
  metadata: object,
  options: TableOptions,
) {
  const columns = COLUMNS[resource] ?? [NAME, AGE];
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata,
    columnDefinitions: columns.map(({ name, wide }) => ({
      name,
      type: "string",
      format: name === "Name" ? "name" : "",
      description: name,
      priority: wide ? 1 : 0,
    })),
    rows: objects.map((object) => ({
      cells: columns.map((column) => column.cell(object, options.now)),
      ...rowObject(object, options.includeObject),
    })),
  };
}

function rowObject(object: StoredObject, include: TableOptions["includeObject"]) {
  if (include === "None") return {};
  if (include === "Object") return { object };
  return { object: { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata } };
}

function text(value: unknown): string {
  return String(value ?? "");
}

function statuses(pod: StoredObject): Fields[] {
  return list(fields(pod.status).containerStatuses);
}

function podReady(pod: StoredObject): string {
  const ready = statuses(pod).filter((status) => status.ready === true).length;
  return `${ready}/${list(fields(pod.spec).containers).length}`;
}

/** The reason of the container that holds the pod up, as kubectl shows it. */
function podStatus(pod: StoredObject): string {
  const status = fields(pod.status);
  if (pod.metadata.deletionTimestamp !== undefined) return "Terminating";
  let reason = text(status.reason) || text(status.phase);
  const initial = list(status.initContainerStatuses);
  const containers = list(fields(pod.spec).initContainers);
  for (const [i, { state: value, started }] of initial.entries()) {
    const state = fields(value);
    if (state.terminated !== undefined && fields(state.terminated).exitCode === 0) continue;
    if (containers[i]?.restartPolicy === "Always" && started === true) continue;
    if (state.terminated !== undefined) return `Init:${text(fields(state.terminated).reason)}`;
    const waiting = text(fields(state.waiting).reason);
    if (waiting !== "" && waiting !== "PodInitializing") return `Init:${waiting}`;
    return `Init:${i}/${initial.length}`;
  }
  for (const { state: value } of statuses(pod).reverse()) {
    const state = fields(value);
    reason = text(fields(state.waiting).reason) || text(fields(state.terminated).reason) || reason;
  }
  return reason;
}

function jobStatus(job: StoredObject): string {
  const holds = (type: string) =>
    list(fields(job.status).conditions).some((condition) => condition.type === type && condition.status === "True");
  if (holds("Complete")) return "Complete";
  if (holds("Failed")) return "Failed";
  if (job.metadata.deletionTimestamp !== undefined) return "Terminating";
  if (holds("Suspended")) return "Suspended";
  if (holds("FailureTarget")) return "FailureTarget";
  if (holds("SuccessCriteriaMet")) return "SuccessCriteriaMet";
  return "Running";
}

function jobDuration({ status }: StoredObject, now: number): string {
  const { startTime, completionTime } = fields(status);
  if (startTime === undefined) return "";
  return duration(
    (completionTime === undefined ? now : Date.parse(text(completionTime))) - Date.parse(text(startTime)),
  );
}

function templateContainers({ spec }: StoredObject): Fields[] {
  return list(fields(fields(fields(spec).template).spec).containers);
}

function nodeStatus({ status }: StoredObject): string {
  const ready = list(fields(status).conditions).find(({ type }) => type === "Ready");
  return ready === undefined || ready.status === "True" ? "Ready" : "NotReady";
}

function since(timestamp: string, now: number): string {
  return duration(now - Date.parse(timestamp));
}

function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (Number.isNaN(seconds)) return "<unknown>";
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`;
}
