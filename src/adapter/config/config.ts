import { define } from "../../json/json-object.ts";
import { isRecord } from "../../json/read-json.ts";
import { isDnsLabel, isDnsSubdomain, isLabelKey, isLabelValue } from "../../kubernetes-names.ts";
import { ConfigError } from "../errors.ts";
import { ConfigReader, checkStorable, isUnset, parseJson, quantityOf, readAll } from "./config-reader.ts";
import { isReservedLabel, type PodPatch, readPodPatch } from "./pod-patch.ts";

/** The keys that every Paperclip adapter on Kubernetes has, read and checked. Seconds are seconds. */
export interface BaseConfig {
  /** Namespace of the Jobs; null: the server's own. */
  readonly namespace: string | null;
  /** Absolute path of a kubeconfig on the server; null: the pod's service account, else the default kubeconfig. */
  readonly kubeconfig: string | null;
  /** Context of that kubeconfig; undefined: its current one. */
  readonly kubeContext: string | undefined;
  /** Image of the agent's container; null: the server's own. */
  readonly image: string | null;
  readonly imagePullPolicy: "IfNotPresent" | "Always" | "Never";
  readonly serviceAccountName: string | null;
  readonly cwd: string | null;
  /** 0: no limit. */
  readonly timeoutSec: number;
  /** Beyond `timeoutSec`, until the adapter's own clock ends the run should the Job's deadline not. */
  readonly graceSec: number;
  readonly ttlSecondsAfterFinished: number;
  /** Leave the Job after the run: of every run, of those that fail, of none. Its Secret is deleted. */
  readonly retainJobs: boolean | "failed";
  /** Adopt a run that an earlier server process left behind. */
  readonly reattachOrphanedJobs: boolean;
  readonly resources: {
    readonly requests: Readonly<Record<string, string>>;
    readonly limits: Readonly<Record<string, string>>;
  };
  /** Null: inherit the server's own. */
  readonly nodeSelector: Readonly<Record<string, string>> | null;
  /** Null: inherit the server's own. */
  readonly tolerations: readonly Toleration[] | null;
  readonly labels: Readonly<Record<string, string>>;
  /** The operator's variables, resolved by the host. */
  readonly env: Readonly<Record<string, string>>;
  /** Only looked at by the environment test. */
  readonly secretRef: string;
  readonly workspaceVolumeClaim: string | null;
  readonly workspaceMountPath: string | null;
  /** Merged into the Job's pod template: for what no key covers. */
  readonly podPatch: PodPatch | null;
  /** Null: no Docker beside the agent. */
  readonly docker: { readonly image: string; readonly cpuLimit: string; readonly memoryLimit: string } | null;
  readonly imagePullGraceSec: number;
  readonly configErrorGraceSec: number;
  readonly scheduleTimeoutSec: number;
  /** Silence after which a line says that the run lives. */
  readonly keepaliveSec: number;
  /** How long an agent that has said its result may be silent before its process is ended. */
  readonly resultGraceSec: number;
  /** How long a run waits for an API server that is away before its agent has started. */
  readonly apiOutageSec: number;
  /** How often a run goes on in another Job after the loss of its pod's node, an eviction and the like. 0: never. */
  readonly maxDisruptionRestarts: number;
  /** What happens while another run of the same agent lives: refuse, wait for its end, or run beside it. */
  readonly concurrencyPolicy: "block" | "wait" | "parallel";
  /** Delete a run that an earlier process left behind and that cannot be adopted, instead of being blocked by it. */
  readonly deleteMismatchedOrphans: boolean;
  /** Stamp failed runs so that the host may continue the conversation. */
  readonly conversationContinuation: boolean;
  /** The environment test runs a short Job. */
  readonly environmentProbe: boolean | undefined;
}

export interface Toleration {
  readonly key?: string;
  readonly operator?: "Exists" | "Equal";
  readonly value?: string;
  readonly effect?: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
  readonly tolerationSeconds?: number;
}

/** Only Jobs that no process deletes live so long: their results wait to be collected by the next run. */
const DEFAULT_TTL_SECONDS = 86_400;
const DEFAULT_GRACE_SECONDS = 60;
/** A cluster autoscaler takes two to five minutes until a node is there. */
const DEFAULT_SCHEDULE_TIMEOUT_SECONDS = 600;
/** An upgrade of a control plane takes minutes. */
const DEFAULT_API_OUTAGE_SECONDS = 600;

/**
 * Reads the shared keys. The host's form writes 0 and "" into fields that were left empty, so both mean "not set".
 *
 * @throws ConfigError
 */
export function parseBaseConfig(raw: Record<string, unknown>): BaseConfig {
  const read = new ConfigReader(raw);
  const patience = (key: string, seconds: number) => () => read.seconds(key) ?? seconds;
  return readAll<BaseConfig>({
    namespace: () => nameOf(read, "namespace", isDnsLabel, "the name of a namespace"),
    kubeconfig: () => absolutePath(read, "kubeconfig"),
    kubeContext: () => read.string("kubeContext") ?? undefined,
    image: () => read.string("image"),
    imagePullPolicy: () => read.choice("imagePullPolicy", ["IfNotPresent", "Always", "Never"]) ?? "IfNotPresent",
    serviceAccountName: () => nameOf(read, "serviceAccountName", isDnsSubdomain, "the name of a service account"),
    cwd: () => read.string("cwd"),
    timeoutSec: patience("timeoutSec", 0),
    graceSec: patience("graceSec", DEFAULT_GRACE_SECONDS),
    ttlSecondsAfterFinished: patience("ttlSecondsAfterFinished", DEFAULT_TTL_SECONDS),
    retainJobs: () => readRetainJobs(read, raw.retainJobs),
    reattachOrphanedJobs: () => read.boolean("reattachOrphanedJobs") ?? true,
    resources: () => readResources(raw),
    nodeSelector: () => readNodeSelector(read),
    tolerations: () => readTolerations(raw),
    labels: () => readLabels(read),
    env: () => readEnv(raw),
    secretRef: () => read.string("secretRef") ?? "paperclip-secrets",
    workspaceVolumeClaim: () =>
      nameOf(read, "workspaceVolumeClaim", isDnsSubdomain, "the name of a PersistentVolumeClaim"),
    workspaceMountPath: () => absolutePath(read, "workspaceMountPath"),
    podPatch: () => readPodPatch(raw.podPatch),
    docker: () => readDocker(read),
    imagePullGraceSec: patience("imagePullGraceSec", 30),
    configErrorGraceSec: patience("configErrorGraceSec", 30),
    scheduleTimeoutSec: patience("scheduleTimeoutSec", DEFAULT_SCHEDULE_TIMEOUT_SECONDS),
    keepaliveSec: patience("keepaliveSec", 300),
    resultGraceSec: patience("resultGraceSec", 30),
    apiOutageSec: patience("apiOutageSec", DEFAULT_API_OUTAGE_SECONDS),
    maxDisruptionRestarts: () => read.countOrZero("maxDisruptionRestarts") ?? 3,
    concurrencyPolicy: () => read.choice("concurrencyPolicy", ["block", "wait", "parallel"]) ?? "wait",
    deleteMismatchedOrphans: () => read.boolean("deleteMismatchedOrphans") ?? false,
    conversationContinuation: () => read.boolean("conversationContinuation") ?? true,
    environmentProbe: () => read.boolean("environmentProbe") ?? undefined,
  });
}

/** Of a configuration that may be wrong elsewhere. */
export function mayContinue(raw: unknown): boolean {
  try {
    return isRecord(raw) ? (new ConfigReader(raw).boolean("conversationContinuation") ?? true) : true;
  } catch {
    return true;
  }
}

function nameOf(read: ConfigReader, key: string, isName: (name: string) => boolean, what: string): string | null {
  const name = read.string(key);
  if (name !== null && !isName(name)) throw new ConfigError(key, name, what);
  return name;
}

function readRetainJobs(read: ConfigReader, value: unknown): BaseConfig["retainJobs"] {
  if (typeof value === "string" && value.trim().toLowerCase() === "failed") return "failed";
  try {
    return read.boolean("retainJobs") ?? false;
  } catch {
    throw new ConfigError("retainJobs", value, 'true, false or "failed"');
  }
}

function absolutePath(read: ConfigReader, key: string): string | null {
  const path = read.string(key);
  if (path !== null && !path.startsWith("/")) throw new ConfigError(key, path, "an absolute path");
  return path;
}

/**
 * The form writes flat dotted keys (`"resources.requests.cpu"`), the former documentation showed a nested object: both are
 * read, the flat ones win. Nested ones may name other resources too (`nvidia.com/gpu`).
 */
function readResources(raw: Record<string, unknown>): BaseConfig["resources"] {
  const nested = raw.resources;
  if (!isUnset(nested) && !isRecord(nested))
    throw new ConfigError("resources", nested, "an object with requests and limits");
  const of = (group: "requests" | "limits", defaults: Record<string, string>): Record<string, string> => {
    const result = { ...defaults };
    const given = isRecord(nested) ? nested[group] : undefined;
    if (!isUnset(given) && !isRecord(given))
      throw new ConfigError(`resources.${group}`, given, "an object such as {cpu, memory}");
    const entries = isRecord(given) ? Object.entries(given) : [];
    for (const name of ["cpu", "memory"]) entries.push([name, raw[`resources.${group}.${name}`]]);
    for (const [name, value] of entries) {
      if (isUnset(value) || value === 0) continue;
      define(result, name, quantityOf(`resources.${group}.${name}`, value));
    }
    return result;
  };
  return {
    requests: of("requests", { cpu: "1000m", memory: "2Gi" }),
    limits: of("limits", { cpu: "4000m", memory: "8Gi" }),
  };
}

function readNodeSelector(read: ConfigReader): Record<string, string> | null {
  const selector = read.map("nodeSelector");
  for (const [key, value] of Object.entries(selector ?? {})) checkLabel("nodeSelector", key, value);
  return selector;
}

function readLabels(read: ConfigReader): Record<string, string> {
  const labels = read.map("labels") ?? {};
  for (const [key, value] of Object.entries(labels)) if (!isReservedLabel(key)) checkLabel("labels", key, value);
  return labels;
}

function checkLabel(field: string, key: string, value: string): void {
  if (!isLabelKey(key))
    throw new ConfigError(field, key, "label keys ([prefix/]name of letters, digits, '-', '_', '.', at most 63)");
  if (!isLabelValue(value)) {
    throw new ConfigError(
      `${field}.${key}`,
      value,
      "a label value (letters, digits, '-', '_', '.', at most 63, a letter or digit at both ends)",
    );
  }
}

function readTolerations(raw: Record<string, unknown>): Toleration[] | null {
  const value = raw.tolerations;
  if (isUnset(value)) return null;
  const list = typeof value === "string" ? parseJson("tolerations", value) : value;
  if (!Array.isArray(list)) throw new ConfigError("tolerations", value, "a JSON array of tolerations");
  return list.map((each, index) => readToleration(`tolerations[${index}]`, each));
}

function readToleration(field: string, value: unknown): Toleration {
  if (!isRecord(value)) throw new ConfigError(field, value, "an object with key, operator, value, effect");
  const { key, operator, value: wanted, effect, tolerationSeconds, ...unknown } = value;
  const extra = Object.keys(unknown)[0];
  if (extra !== undefined)
    throw new ConfigError(`${field}.${extra}`, unknown[extra], "only key, operator, value, effect, tolerationSeconds");
  const text = (name: string, given: unknown): string | undefined => {
    if (given === undefined || given === null) return undefined;
    if (typeof given === "string") return given;
    throw new ConfigError(`${field}.${name}`, given, "a text");
  };
  const oneOf = <const T extends string>(name: string, given: unknown, values: readonly T[]): T | undefined => {
    if (given === undefined || given === null || given === "") return undefined;
    const found = values.find((each) => each === given);
    if (found === undefined) throw new ConfigError(`${field}.${name}`, given, `one of ${values.join(", ")}`);
    return found;
  };
  if (tolerationSeconds !== undefined && tolerationSeconds !== null && !Number.isInteger(tolerationSeconds)) {
    throw new ConfigError(`${field}.tolerationSeconds`, tolerationSeconds, "a whole number of seconds");
  }
  const entries = {
    key: text("key", key),
    operator: oneOf("operator", operator, ["Exists", "Equal"]),
    value: text("value", wanted),
    effect: oneOf("effect", effect, ["NoSchedule", "PreferNoSchedule", "NoExecute"]),
    tolerationSeconds: typeof tolerationSeconds === "number" ? tolerationSeconds : undefined,
  };
  return Object.fromEntries(Object.entries(entries).filter(([, each]) => each !== undefined));
}

/** The host resolves bindings to plain texts; anything that is not a text is left out, as the former adapter did. */
function readEnv(raw: Record<string, unknown>): Record<string, string> {
  const value = raw.env;
  if (isUnset(value)) return {};
  if (!isRecord(value)) throw new ConfigError("env", value, "an object of texts");
  const env: Record<string, string> = {};
  for (const [name, each] of Object.entries(value)) {
    if (typeof each !== "string") continue;
    // core/v1 validation since 1.30 (RelaxedEnvironmentVariableValidation): printable ASCII without "=".
    if (!/^[ -<>-~]+$/.test(name)) throw new ConfigError("env", name, "names of environment variables");
    define(env, name, checkStorable(`env.${name}`, each));
  }
  return env;
}

function readDocker(read: ConfigReader): BaseConfig["docker"] {
  if (read.boolean("enableDocker") !== true) return null;
  return {
    image: read.string("dockerImage") ?? "docker:28-dind",
    cpuLimit: read.quantity("dockerCpuLimit") ?? "2",
    memoryLimit: read.quantity("dockerMemoryLimit") ?? "2Gi",
  };
}
