import { readFile } from "node:fs/promises";
import { LRUCache } from "lru-cache";
import { type Cluster, corePath, isForbidden, isNotFound } from "../../engine/index.ts";
import { DATA_DIRECTORY } from "../definition.ts";

/** What the Jobs inherit from the pod that the server runs in. */
export interface SelfPod {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string | null;
  readonly image: string;
  readonly imagePullSecrets: readonly { readonly name: string }[];
  readonly dnsConfig: Record<string, unknown> | null;
  readonly nodeSelector: Readonly<Record<string, string>> | null;
  readonly tolerations: readonly Record<string, unknown>[] | null;
  /** The claim mounted exactly at `/paperclip`. */
  readonly dataVolume: { readonly claimName: string; readonly subPath: string | null } | null;
  readonly secretVolumes: readonly SecretVolume[];
  /** Literal variables; empty values are left out. */
  readonly env: Readonly<Record<string, string>>;
  /** Variables that refer to a Secret, a ConfigMap or a field, as they stand in the pod. */
  readonly envValueFrom: readonly { readonly name: string; readonly valueFrom: Record<string, unknown> }[];
  readonly envFrom: readonly Record<string, unknown>[];
}

export interface SecretVolume {
  readonly volumeName: string;
  readonly secretName: string;
  readonly mountPath: string;
  readonly subPath: string | null;
  readonly defaultMode: number | null;
  readonly items: readonly Record<string, unknown>[] | null;
}

/** The server's own pod is needed and cannot be read, or not be inherited from. */
export class SelfPodError extends Error {
  override readonly name = "SelfPodError";
  /** @param missingKeys of the configuration, which make the own pod unnecessary; none where nothing does */
  constructor(message: string, missingKeys: readonly ("image" | "namespace")[] = [], cause?: unknown) {
    const keys = missingKeys.map((key) => `\`${key}\``).join(" and ");
    const instead = keys === "" ? "" : ` Set ${keys} in the agent's configuration to do without it.`;
    super(`${message}${instead}`, cause === undefined ? undefined : { cause });
  }
}

export interface OwnPodName {
  readonly name: string | null;
  readonly namespace: string;
}

const SERVICE_ACCOUNT_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/** Kubernetes sets a container's host name to its pod's name. */
export async function ownPodName(env: NodeJS.ProcessEnv): Promise<OwnPodName> {
  const name = env.HOSTNAME?.trim() || null;
  const told = env.PAPERCLIP_NAMESPACE?.trim() || env.POD_NAMESPACE?.trim();
  if (told) return { name, namespace: told };
  const mounted = await readFile(SERVICE_ACCOUNT_NAMESPACE, "utf8").catch(() => "");
  return { name, namespace: mounted.trim() || "default" };
}

/**
 * Own pods by cluster: agents may name different kubeconfigs, and what is true of one cluster is not of another. A pod's
 * spec does not change while this process lives in it; that there is none is asked again after a while.
 */
const known = new LRUCache<string, { pod: SelfPod | null }>({ max: 64 });
const ABSENT_TTL_MS = 60_000;

/**
 * The server's own pod, asked for once per cluster and process. Null where it can be done without: `image` and `namespace`
 * are configured, and there is no such pod or it may not be read.
 *
 * @throws SelfPodError; ApiError when the API server cannot be asked
 */
export async function readSelfPod(
  cluster: Cluster,
  config: { readonly image: string | null; readonly namespace: string | null },
  env: NodeJS.ProcessEnv,
  signal?: AbortSignal,
): Promise<SelfPod | null> {
  const missing = (["image", "namespace"] as const).filter((key) => config[key] === null);
  const without = (message: string, cause?: unknown): null => {
    if (missing.length > 0) throw new SelfPodError(message, missing, cause);
    return null;
  };
  const { name, namespace } = await ownPodName(env);
  if (name === null) return without("HOSTNAME is not set, so the server's own pod is not known.");
  const absent = `The server's own pod ${namespace}/${name} (from HOSTNAME) does not exist in the cluster at ${cluster.server}.`;

  const key = JSON.stringify([cluster.server, namespace, name]);
  const cached = known.get(key);
  if (cached !== undefined) return cached.pod ?? without(absent);
  let raw: unknown;
  try {
    raw = await cluster.json<unknown>({ path: corePath(namespace, "pods", name), signal });
  } catch (error) {
    if (isForbidden(error)) {
      return without(
        `The server may not read its own pod ${namespace}/${name}: grant \`get\` on \`pods\` there.`,
        error,
      );
    }
    if (!isNotFound(error)) throw error;
    known.set(key, { pod: null }, { ttl: ABSENT_TTL_MS });
    return without(absent, error);
  }
  const pod = parseSelfPod(raw);
  known.set(key, { pod });
  return pod;
}

/** For tests, and for whoever replaces the pod under a running process. */
export function forgetSelfPods(): void {
  known.clear();
}

/** Wire shapes, only as deep as they are read. */
interface RawPod {
  metadata: { name: string; namespace: string; uid?: string };
  spec: {
    containers: RawContainer[];
    volumes?: RawVolume[];
    imagePullSecrets?: { name: string }[];
    dnsConfig?: Record<string, unknown>;
    nodeSelector?: Record<string, string>;
    tolerations?: Record<string, unknown>[];
  };
}
interface RawContainer {
  name: string;
  image: string;
  env?: { name: string; value?: string; valueFrom?: Record<string, unknown> }[];
  envFrom?: Record<string, unknown>[];
  volumeMounts?: RawMount[];
}
interface RawMount {
  name: string;
  mountPath: string;
  subPath?: string;
  subPathExpr?: string;
}
interface RawVolume {
  name: string;
  persistentVolumeClaim?: { claimName: string };
  secret?: { secretName: string; defaultMode?: number; items?: Record<string, unknown>[] };
}

/**
 * The container named `paperclip`, else the first: a mesh may have put its sidecar before the server.
 * @throws SelfPodError when it cannot be said what is mounted
 */
export function parseSelfPod(raw: unknown): SelfPod {
  const { metadata, spec } = raw as RawPod;
  const container = spec.containers.find((each) => each.name === "paperclip") ?? spec.containers[0];
  if (container === undefined) throw new TypeError(`pod ${metadata.name} has no container`);
  const volumes = new Map((spec.volumes ?? []).map((volume) => [volume.name, volume]));
  let dataVolume: SelfPod["dataVolume"] = null;
  const secretVolumes: SecretVolume[] = [];
  for (const mount of container.volumeMounts ?? []) {
    const { name, mountPath } = mount;
    const volume = volumes.get(name);
    const claimName = volume?.persistentVolumeClaim?.claimName;
    if (claimName !== undefined && mountPath.replace(/\/+$/, "") === DATA_DIRECTORY)
      dataVolume = { claimName, subPath: subPathOf(mount, container) };
    const secret = volume?.secret;
    if (secret === undefined) continue;
    const { secretName, defaultMode = null, items = null } = secret;
    const subPath = subPathOf(mount, container);
    secretVolumes.push({ volumeName: name, secretName, mountPath, subPath, defaultMode, items });
  }
  const env: Record<string, string> = {};
  const envValueFrom: SelfPod["envValueFrom"][number][] = [];
  for (const { name, value, valueFrom } of container.env ?? []) {
    if (valueFrom !== undefined) envValueFrom.push({ name, valueFrom: withoutContainerName(valueFrom) });
    else if (value !== undefined && value !== "") env[name] = value;
  }
  return {
    name: metadata.name,
    namespace: metadata.namespace,
    uid: metadata.uid ?? null,
    image: container.image,
    imagePullSecrets: (spec.imagePullSecrets ?? []).map(({ name }) => ({ name })),
    dnsConfig: spec.dnsConfig ?? null,
    nodeSelector: spec.nodeSelector ?? null,
    tolerations: spec.tolerations?.filter((each) => !isDefaultToleration(each)) ?? null,
    dataVolume,
    secretVolumes,
    env,
    envValueFrom,
    envFrom: container.envFrom ?? [],
  };
}

/**
 * What `subPathExpr` names in the server's own pod, as a plain sub-path. Not left to the Job's kubelet, which would put in what
 * those variables are there: the agent's configuration may set them, and the pod's name is another. That would be the directory
 * of somebody else.
 * @throws SelfPodError when only the kubelet of the own pod knows
 */
function subPathOf({ mountPath, subPath, subPathExpr = "" }: RawMount, { env = [] }: RawContainer): string | null {
  if (subPathExpr === "") return subPath ?? null;
  // Of two with one name the later holds.
  const variables = new Map(env.map((variable) => [variable.name, variable]));
  return subPathExpr.replaceAll(/\$\$|\$\(([^)]*)\)/g, (_, name?: string) => {
    if (name === undefined) return "$";
    const { value = "", valueFrom } = variables.get(name) ?? {};
    // A dollar sign may be a reference to another one.
    if (valueFrom === undefined && value !== "" && !value.includes("$")) return value;
    throw new SelfPodError(
      `The server's own pod mounts ${mountPath} with subPathExpr ${JSON.stringify(subPathExpr)}, and ${name} is no plain value in its container's \`env\`, so the same directory cannot be given to the Job. Give ${name} a plain value there, or use subPath.`,
    );
  });
}

/** The admission plugin DefaultTolerationSeconds adds these two to every pod; the Job's pod gets its own. */
function isDefaultToleration({ key, effect }: Record<string, unknown>): boolean {
  return effect === "NoExecute" && (key === "node.kubernetes.io/not-ready" || key === "node.kubernetes.io/unreachable");
}

/** `resourceFieldRef` may name the server's container, which the Job's pod does not have. */
function withoutContainerName(valueFrom: Record<string, unknown>): Record<string, unknown> {
  const field = valueFrom.resourceFieldRef;
  if (typeof field !== "object" || field === null) return valueFrom;
  const { containerName: _, ...rest } = field as Record<string, unknown>;
  return { ...valueFrom, resourceFieldRef: rest };
}
