/** What a pod's specification gives to its containers: environment variables and volumes, taken from the store. */

import type { StoredObject } from "../objects/objects.ts";
import type { ContainerSpec, EnvVar, KeyToPath, Pod, VolumeProjection, VolumeSpec } from "../objects/workloads.ts";
import type { ObjectStore } from "../store/store.ts";
import { ContainerFiles, type Mount, Volume } from "./container-files.ts";

/** A Secret, ConfigMap or key that a container names is not there: `CreateContainerConfigError`, or a failed mount. */
export class MissingConfigError extends Error {
  override readonly name = "MissingConfigError";
}

/** Kernel limits (`MAX_ARG_STRLEN`, `ARG_MAX`): a longer string cannot be handed to a process at all. */
const maxStringBytes = 128 * 1024;
const maxTotalBytes = 2 * 1024 * 1024;

/** @throws MissingConfigError with the kubelet's own message. */
export function containerEnv(store: ObjectStore, pod: Pod, container: ContainerSpec): Record<string, string> {
  const env: Record<string, string> = {};
  for (const { prefix = "", secretRef, configMapRef } of container.envFrom ?? []) {
    const reference = secretRef ?? configMapRef;
    if (reference === undefined) continue;
    const kind = secretRef === undefined ? "configmap" : "secret";
    const data = dataOf(store, pod, kind, reference.name);
    if (data === undefined) {
      if (reference.optional === true) continue;
      throw new MissingConfigError(`${kind} "${reference.name}" not found`);
    }
    for (const [key, value] of data) env[prefix + key] = value.toString("utf8");
  }
  for (const variable of container.env ?? []) {
    const value =
      variable.valueFrom === undefined
        ? expand(variable.value ?? "", env)
        : valueFrom(store, pod, container, variable.valueFrom);
    if (value !== undefined) env[variable.name] = value;
  }
  return env;
}

/** `$(NAME)` → the variable's value; `$$(NAME)` stays `$(NAME)`; unknown names stay as they are. */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  if (!text.includes("$")) return text;
  return text.replace(/\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)/g, (match, name: string | undefined) => {
    if (name === undefined) return "$";
    return env[name] ?? match;
  });
}

/** The string that is too long for the kernel, if there is one (`argument list too long`). */
export function exceedsArgumentLimit(argv: readonly string[], env: Readonly<Record<string, string>>): boolean {
  let total = 0;
  const strings = [...argv, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)];
  for (const text of strings) {
    const bytes = Buffer.byteLength(text) + 1;
    if (bytes > maxStringBytes) return true;
    total += bytes;
  }
  return total > maxTotalBytes;
}

function valueFrom(
  store: ObjectStore,
  pod: Pod,
  container: ContainerSpec,
  source: NonNullable<EnvVar["valueFrom"]>,
): string | undefined {
  if (source.fieldRef !== undefined) return fieldOf(pod, source.fieldRef.fieldPath);
  if (source.resourceFieldRef !== undefined) {
    const [group = "limits", name = ""] = source.resourceFieldRef.resource.split(".");
    const amounts = group === "requests" ? container.resources?.requests : container.resources?.limits;
    return String(amounts?.[name] ?? 0);
  }
  const selector = source.secretKeyRef ?? source.configMapKeyRef;
  if (selector === undefined) return "";
  const kind = source.secretKeyRef === undefined ? "configmap" : "secret";
  const data = dataOf(store, pod, kind, selector.name);
  const value = data?.get(selector.key);
  if (value !== undefined) return value.toString("utf8");
  if (selector.optional === true) return undefined;
  if (data === undefined) throw new MissingConfigError(`${kind} "${selector.name}" not found`);
  const title = kind === "secret" ? "Secret" : "ConfigMap";
  throw new MissingConfigError(
    `couldn't find key ${selector.key} in ${title} ${pod.metadata.namespace}/${selector.name}`,
  );
}

function fieldOf(pod: Pod, path: string): string {
  const { metadata, spec, status } = pod;
  const keyed = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
  if (keyed !== null) return metadata[keyed[1] as "labels" | "annotations"]?.[keyed[2] ?? ""] ?? "";
  switch (path) {
    case "metadata.name":
      return metadata.name;
    case "metadata.namespace":
      return metadata.namespace ?? "";
    case "metadata.uid":
      return metadata.uid;
    case "metadata.labels":
      return downwardMap(metadata.labels);
    case "metadata.annotations":
      return downwardMap(metadata.annotations);
    case "spec.nodeName":
      return spec.nodeName ?? "";
    case "spec.serviceAccountName":
      return spec.serviceAccountName ?? "default";
    case "status.podIP":
    case "status.podIPs":
      return status.podIP ?? "";
    case "status.hostIP":
    case "status.hostIPs":
      return status.hostIP ?? "";
    default:
      return "";
  }
}

function downwardMap(map: Readonly<Record<string, string>> = {}): string {
  return Object.entries(map)
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join("\n");
}

const MESSAGE_FILE = "message";

/** The volumes of one pod, by name. `claims` holds those that outlive pods. */
export class PodVolumes {
  readonly #volumes = new Map<string, Volume>();
  /** Names of the volumes in which containers leave their last words. */
  readonly #messages = new Map<Volume, string>();

  /** @throws MissingConfigError as the kubelet's `FailedMount` event words it. */
  constructor(store: ObjectStore, pod: Pod, claims: Map<string, Volume>) {
    for (const spec of pod.spec.volumes ?? []) this.#volumes.set(spec.name, mount(store, pod, spec, claims));
  }

  filesFor(container: ContainerSpec): ContainerFiles {
    const mounts: Mount[] = [];
    for (const { name, mountPath, subPath = "", readOnly = false } of container.volumeMounts ?? []) {
      const volume = this.#volumes.get(name);
      if (volume === undefined) continue;
      mounts.push({ mountPath: trimSlash(mountPath), subPath, volume, readOnly: readOnly || volume.readOnly });
    }
    const { terminationMessagePath } = container;
    if (terminationMessagePath !== undefined) mounts.push(this.#messageOf(container.name, terminationMessagePath));
    return new ContainerFiles(mounts, container.workingDir ?? "/");
  }

  /** Name of a volume, for a directory to put it in. */
  nameOf(volume: Volume): string {
    for (const [name, candidate] of this.#volumes) if (candidate === volume) return name;
    return this.#messages.get(volume) ?? "root";
  }

  /** An empty file for each start of a container, as the kubelet mounts one. */
  #messageOf(container: string, mountPath: string): Mount {
    const volume = new Volume({ load: () => new Map([[MESSAGE_FILE, Buffer.alloc(0)]]) });
    this.#messages.set(volume, `message-${container}-${this.#messages.size}`);
    return { mountPath, subPath: MESSAGE_FILE, volume, readOnly: false };
  }
}

function trimSlash(path: string): string {
  return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
}

function mount(store: ObjectStore, pod: Pod, spec: VolumeSpec, claims: Map<string, Volume>): Volume {
  const { secret, configMap, persistentVolumeClaim, projected, downwardAPI } = spec;
  if (persistentVolumeClaim !== undefined) {
    const key = `${pod.metadata.namespace}/${persistentVolumeClaim.claimName}`;
    let volume = claims.get(key);
    if (volume === undefined) {
      volume = new Volume();
      claims.set(key, volume);
    }
    return volume;
  }
  const sources: VolumeProjection[] = [...(projected?.sources ?? [])];
  if (secret !== undefined) sources.push({ secret: { ...secret, name: secret.secretName } });
  if (configMap !== undefined) sources.push({ configMap });
  if (downwardAPI !== undefined) sources.push({ downwardAPI });
  if (sources.length === 0) return new Volume();
  // What is there is looked up now, as the kubelet does at the mount; it is decoded when a program reads it.
  const loaders = sources.map((source) => projection(store, pod, spec.name, source));
  return new Volume({
    readOnly: true,
    load: () => new Map(loaders.flatMap((load) => [...load()])),
    modeOf: modesOf(pod, (secret ?? configMap ?? projected ?? downwardAPI)?.defaultMode, sources),
  });
}

/** `defaultMode`, or the item's own; with `fsGroup` its group may read (kubelet `SetVolumeOwnership` of a read-only volume). */
function modesOf(pod: Pod, defaultMode = 0o644, sources: readonly VolumeProjection[]): (path: string) => number {
  const modes = new Map<string, number>();
  for (const { secret, configMap } of sources) {
    for (const { path, mode } of (secret ?? configMap)?.items ?? []) if (mode !== undefined) modes.set(path, mode);
  }
  const ofGroup = pod.spec.securityContext?.fsGroup === undefined ? 0 : 0o440;
  return (path) => (modes.get(path) ?? defaultMode) | ofGroup;
}

type Loader = () => Map<string, Buffer>;

function projection(store: ObjectStore, pod: Pod, volume: string, source: VolumeProjection): Loader {
  const { secret, configMap, downwardAPI, serviceAccountToken } = source;
  if (serviceAccountToken !== undefined) {
    return () => new Map([[serviceAccountToken.path, Buffer.from(`embedded-token-${pod.metadata.uid}`)]]);
  }
  if (downwardAPI !== undefined) {
    return () =>
      new Map(
        (downwardAPI.items ?? []).map(({ path, fieldRef }) => [
          path,
          Buffer.from(fieldRef === undefined ? "" : fieldOf(pod, fieldRef.fieldPath)),
        ]),
      );
  }
  const reference = secret ?? configMap;
  if (reference === undefined) return () => new Map();
  const resource = secret === undefined ? "configmaps" : "secrets";
  const object = store.get(resource, pod.metadata.namespace, reference.name);
  if (object === undefined) {
    // Every pod's token volume names ConfigMaps that the embedded cluster does without.
    if (reference.optional === true || volume.startsWith("kube-api-access-")) return () => new Map();
    throw new MissingConfigError(
      `MountVolume.SetUp failed for volume "${volume}" : ${secret === undefined ? "configmap" : "secret"} "${reference.name}" not found`,
    );
  }
  const items = reference.items;
  const missing = items?.find(({ key }) => !hasKey(object, key));
  if (missing !== undefined && reference.optional !== true) {
    throw new MissingConfigError(
      `MountVolume.SetUp failed for volume "${volume}" : references non-existent ${secret === undefined ? "config" : "secret"} key: ${missing.key}`,
    );
  }
  return () => selectItems(decode(object), items);
}

function selectItems(data: Map<string, Buffer>, items: readonly KeyToPath[] | undefined): Map<string, Buffer> {
  if (items === undefined) return data;
  const selected = new Map<string, Buffer>();
  for (const { key, path } of items) {
    const content = data.get(key);
    if (content !== undefined) selected.set(path, content);
  }
  return selected;
}

function hasKey(object: StoredObject, key: string): boolean {
  return Object.hasOwn({ ...(object.data as object), ...(object.binaryData as object) }, key);
}

function dataOf(
  store: ObjectStore,
  pod: Pod,
  kind: "secret" | "configmap",
  name: string,
): Map<string, Buffer> | undefined {
  const object = store.get(kind === "secret" ? "secrets" : "configmaps", pod.metadata.namespace, name);
  return object === undefined ? undefined : decode(object);
}

/** The data of a Secret (base64) or ConfigMap (text, and base64 under `binaryData`). */
function decode(object: StoredObject): Map<string, Buffer> {
  const decoded = new Map<string, Buffer>();
  const encoding = object.kind === "Secret" ? "base64" : "utf8";
  for (const [key, value] of Object.entries((object.data ?? {}) as Record<string, string>)) {
    decoded.set(key, Buffer.from(value, encoding));
  }
  for (const [key, value] of Object.entries((object.binaryData ?? {}) as Record<string, string>)) {
    decoded.set(key, Buffer.from(value, "base64"));
  }
  return decoded;
}
