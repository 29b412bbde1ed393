import type {
  Condition,
  Container,
  ContainerState,
  ContainerStatus,
  Job,
  ObjectMeta,
  OwnerReference,
  Pod,
  RestartRule,
} from "../kubernetes.ts";

/**
 * What the cache keeps of an object: what classification, guards and people read. A pod frame has 5–9 KB of JSON, a third
 * of it `managedFields`; what stays is about a fifth. Values that repeat from pod to pod share one string.
 *
 * Both return null for an object without the identity that every object has; the caller counts it as a bad frame.
 */
export type Trim<T> = (raw: unknown) => T | null;

export const trimJob: Trim<Job> = (raw) => {
  const object = asRecord(raw);
  const metadata = trimMetadata(object?.metadata);
  if (object === null || metadata === null) return null;
  const spec = asRecord(object.spec) ?? {};
  const status = asRecord(object.status) ?? {};
  const job: Job = { metadata, spec: {}, status: {} };
  for (const key of ["backoffLimit", "activeDeadlineSeconds"] as const) {
    if (typeof spec[key] === "number") job.spec[key] = spec[key];
  }
  if (spec.suspend === true) job.spec.suspend = true;
  if (spec.podFailurePolicy !== undefined) job.spec.podFailurePolicy = true;
  if (typeof spec.managedBy === "string") job.spec.managedBy = intern(spec.managedBy);
  for (const key of ["completions", "parallelism"] as const) {
    const value = spec[key];
    if (typeof value === "number" && value > 1) job.spec[key] = value;
  }
  const template = asRecord(asRecord(spec.template)?.spec);
  if (template !== null) job.spec.template = trimTemplate(template);
  for (const key of ["active", "succeeded", "failed", "terminating"] as const) {
    if (typeof status[key] === "number") job.status[key] = status[key];
  }
  if (typeof status.startTime === "string") job.status.startTime = status.startTime;
  const conditions = trimConditions(status.conditions);
  if (conditions !== undefined) job.status.conditions = conditions;
  return job;
};

export const trimPod: Trim<Pod> = (raw) => {
  const object = asRecord(raw);
  const metadata = trimMetadata(object?.metadata);
  if (object === null || metadata === null) return null;
  const spec = asRecord(object.spec) ?? {};
  const status = asRecord(object.status) ?? {};
  const pod: Pod = { metadata, spec: trimPodSpec(spec), status: {} };
  if (isPhase(status.phase)) pod.status.phase = status.phase;
  if (typeof status.reason === "string") pod.status.reason = intern(status.reason);
  if (typeof status.message === "string") pod.status.message = status.message;
  const conditions = trimConditions(status.conditions);
  if (conditions !== undefined) pod.status.conditions = conditions;
  const inits = trimStatuses(status.initContainerStatuses);
  if (inits !== undefined) pod.status.initContainerStatuses = inits;
  const mains = trimStatuses(status.containerStatuses);
  if (mains !== undefined) pod.status.containerStatuses = mains;
  return pod;
};

/** Pods of one template on one node share one copy. */
function trimPodSpec(raw: Record<string, unknown>): Pod["spec"] {
  const { nodeName, restartPolicy, terminationGracePeriodSeconds: grace } = raw;
  const own = `${part(nodeName)}${part(restartPolicy)}${typeof grace === "number" ? grace : ""}`;
  const key = `${own}\0${keyOfContainers(raw.containers)}\0${keyOfContainers(raw.initContainers)}`;
  return shared(podSpecs, key, () => {
    const spec: Pod["spec"] = { containers: trimContainers(raw.containers) ?? [] };
    const initContainers = trimContainers(raw.initContainers);
    if (initContainers !== undefined) spec.initContainers = initContainers;
    if (typeof nodeName === "string") spec.nodeName = nodeName;
    if (typeof restartPolicy === "string") spec.restartPolicy = restartPolicy;
    if (typeof grace === "number") spec.terminationGracePeriodSeconds = grace;
    return spec;
  });
}

type JobTemplate = NonNullable<Job["spec"]["template"]>;

function trimTemplate({ containers, initContainers }: Record<string, unknown>): JobTemplate {
  const key = `${keyOfContainers(containers)}\0${keyOfContainers(initContainers)}`;
  return shared(templates, key, () => {
    const names = (raw: unknown) => (trimContainers(raw) ?? []).map(({ name }) => ({ name }));
    return { spec: { containers: names(containers), initContainers: names(initContainers) } };
  });
}

function keyOfContainers(raw: unknown): string {
  if (!Array.isArray(raw)) return "";
  let key = "";
  for (const each of raw) {
    key += part(each?.name) + part(each?.restartPolicy);
    if (each?.restartPolicyRules !== undefined) key += part(JSON.stringify(each.restartPolicyRules));
  }
  return key;
}

function trimMetadata(raw: unknown): ObjectMeta | null {
  const meta = asRecord(raw);
  if (meta === null) return null;
  const { name, uid, resourceVersion, namespace, creationTimestamp } = meta;
  if (typeof name !== "string" || typeof uid !== "string" || typeof resourceVersion !== "string") return null;
  const kept: ObjectMeta = {
    name,
    namespace: typeof namespace === "string" ? intern(namespace) : "",
    uid,
    resourceVersion,
    creationTimestamp: typeof creationTimestamp === "string" ? creationTimestamp : "",
  };
  if (typeof meta.deletionTimestamp === "string") kept.deletionTimestamp = meta.deletionTimestamp;
  if (typeof meta.deletionGracePeriodSeconds === "number")
    kept.deletionGracePeriodSeconds = meta.deletionGracePeriodSeconds;
  const labels = trimStrings(meta.labels, isDerivedLabel);
  if (labels !== undefined) kept.labels = labels;
  const annotations = trimStrings(meta.annotations, isForeignAnnotation);
  if (annotations !== undefined) kept.annotations = annotations;
  const owners = trimOwners(meta.ownerReferences);
  if (owners !== undefined) kept.ownerReferences = owners;
  return kept;
}

/** The Job controller sets each of these twice, and the owner reference says the same. */
function isDerivedLabel(key: string): boolean {
  return key === "controller-uid" || key === "batch.kubernetes.io/controller-uid" || key === "job-name";
}

/** `kubectl apply` keeps the whole manifest in one. */
function isForeignAnnotation(key: string): boolean {
  return key.startsWith("kubectl.kubernetes.io/");
}

function trimStrings(raw: unknown, isDropped: (key: string) => boolean): Record<string, string> | undefined {
  const source = asRecord(raw);
  if (source === null) return undefined;
  let kept: Record<string, string> | undefined;
  for (const key in source) {
    const value = source[key];
    if (typeof value !== "string" || isDropped(key)) continue;
    kept ??= {};
    kept[key] = value.length <= MAX_INTERNED ? intern(value) : value;
  }
  return kept;
}

function trimOwners(raw: unknown): OwnerReference[] | undefined {
  if (!Array.isArray(raw)) return undefined;
  for (const each of raw) {
    const owner = asRecord(each);
    if (owner?.controller !== true || typeof owner.uid !== "string" || typeof owner.name !== "string") continue;
    return [
      {
        apiVersion: intern(String(owner.apiVersion)),
        kind: intern(String(owner.kind)),
        name: owner.name,
        uid: owner.uid,
        controller: true,
      },
    ];
  }
  return undefined;
}

/** Most objects of a kind stand at one of a few sets of conditions, so these share one copy. */
function trimConditions(raw: unknown): Condition[] | undefined {
  if (!Array.isArray(raw) || raw.length === 0) return undefined;
  let key = "";
  for (const each of raw) key += part(each?.type) + part(each?.status) + part(each?.reason) + part(each?.message);
  return shared(conditionSets, key, () => raw.map(trimCondition).filter((each) => each !== null));
}

function trimCondition(raw: unknown): Condition | null {
  const source = asRecord(raw);
  if (source === null || typeof source.type !== "string") return null;
  const { type, status, reason, message } = source;
  const condition: Condition = {
    type: intern(type),
    status: status === "True" ? "True" : status === "False" ? "False" : "Unknown",
  };
  if (typeof reason === "string" && reason !== "") condition.reason = intern(reason);
  if (typeof message === "string" && message !== "") condition.message = intern(message);
  return condition;
}

function trimContainers(raw: unknown): Container[] | undefined {
  if (!Array.isArray(raw)) return undefined;
  const kept: Container[] = [];
  for (const each of raw) {
    const source = asRecord(each);
    if (source === null || typeof source.name !== "string") continue;
    const container: Container = { name: intern(source.name) };
    if (typeof source.restartPolicy === "string") container.restartPolicy = intern(source.restartPolicy);
    if (Array.isArray(source.restartPolicyRules)) container.restartRules = trimRestartRules(source.restartPolicyRules);
    kept.push(container);
  }
  return kept;
}

function trimRestartRules(raw: readonly unknown[]): RestartRule[] {
  return raw.flatMap((each) => {
    const rule = asRecord(each);
    const { operator, values } = asRecord(rule?.exitCodes) ?? {};
    const action = rule?.action;
    if ((action !== "Restart" && action !== "RestartAllContainers") || !Array.isArray(values)) return [];
    if (operator !== "In" && operator !== "NotIn") return [];
    return [{ action, isIn: operator === "In", exitCodes: values.filter((value) => typeof value === "number") }];
  });
}

function trimStatuses(raw: unknown): ContainerStatus[] | undefined {
  if (!Array.isArray(raw)) return undefined;
  // `map` makes an array of just this length; one that is filtered or pushed to has room for seventeen.
  const statuses = raw.map(trimStatus);
  return statuses.includes(null) ? statuses.filter((each) => each !== null) : (statuses as ContainerStatus[]);
}

function trimStatus(raw: unknown): ContainerStatus | null {
  const source = asRecord(raw);
  if (source === null || typeof source.name !== "string") return null;
  const status: ContainerStatus = {
    name: intern(source.name),
    restartCount: typeof source.restartCount === "number" ? source.restartCount : 0,
  };
  const state = trimState(source.state);
  if (state !== undefined) status.state = state;
  const lastState = trimState(source.lastState);
  if (lastState !== undefined) status.lastState = lastState;
  if (source.started === true) status.started = true;
  return status;
}

function trimState(raw: unknown): ContainerState | undefined {
  const source = asRecord(raw);
  if (source === null) return undefined;
  const waiting = asRecord(source.waiting);
  if (waiting !== null) {
    const kept: ContainerState["waiting"] = {};
    if (typeof waiting.reason === "string") kept.reason = intern(waiting.reason);
    if (typeof waiting.message === "string") kept.message = waiting.message;
    return { waiting: kept };
  }
  const running = asRecord(source.running);
  if (running !== null)
    return { running: typeof running.startedAt === "string" ? { startedAt: running.startedAt } : {} };
  const ended = asRecord(source.terminated);
  if (ended === null) return undefined;
  const kept: ContainerState["terminated"] = { exitCode: typeof ended.exitCode === "number" ? ended.exitCode : -1 };
  if (typeof ended.signal === "number" && ended.signal !== 0) kept.signal = ended.signal;
  if (typeof ended.reason === "string") kept.reason = intern(ended.reason);
  if (typeof ended.message === "string") kept.message = ended.message;
  if (typeof ended.startedAt === "string") kept.startedAt = ended.startedAt;
  if (typeof ended.finishedAt === "string") kept.finishedAt = ended.finishedAt;
  return { terminated: kept };
}

function isPhase(value: unknown): value is NonNullable<Pod["status"]["phase"]> {
  return (
    value === "Pending" || value === "Running" || value === "Succeeded" || value === "Failed" || value === "Unknown"
  );
}

function asRecord(value: unknown): Record<string, unknown> | null {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;
}

/** Of a label's value. Longer ones are mostly ids, each another, which would only push the others out. */
const MAX_INTERNED = 24;
/** One copy of each string that recurs. Bounded: when full it is emptied, and objects that hold an older copy keep it. */
const MAX_STRINGS = 4096;
const strings = new Map<string, string>();

function intern(text: string): string {
  if (text.length > 256) return text;
  const known = strings.get(text);
  if (known !== undefined) return known;
  if (strings.size >= MAX_STRINGS) strings.clear();
  strings.set(text, text);
  return text;
}

const podSpecs = new Map<string, Pod["spec"]>();
const templates = new Map<string, JobTemplate>();
const conditionSets = new Map<string, Condition[]>();

/** One frozen copy of each value that recurs, by what it was made from. Bounded as the strings are. */
function shared<T extends object>(copies: Map<string, T>, key: string, make: () => T): T {
  const known = copies.get(key);
  if (known !== undefined) return known;
  const made = Object.freeze(make());
  if (key.length > 2_048) return made;
  if (copies.size >= MAX_STRINGS) copies.clear();
  copies.set(key, made);
  return made;
}

/** Of a key; no string that Kubernetes writes has a NUL in it. */
function part(value: unknown): string {
  return typeof value === "string" ? `${value}\0` : "\0";
}
