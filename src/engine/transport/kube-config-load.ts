import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { type KubeConfig, type KubeConfigParts, LoadedKubeConfig, named } from "./kube-config.ts";
import { checkKubeConfig, readNamedFile } from "./kube-config-check.ts";
import { describe, KubeConfigError } from "./kube-config-error.ts";
import { mergeParts, parseParts } from "./kube-config-parse.ts";
import { parseText } from "./yaml.ts";

export interface LoadOptions {
  /** Instead of the kubeconfig's `current-context`, as kubectl's `--context`. */
  context?: string | undefined;
  /** What an exec plugin says to a person while it runs, such as a device code; secrets are taken out. Default: to stderr, as kubectl. */
  onPluginOutput?: ((text: string) => void) | undefined;
  /** Default `process.env`: `KUBECONFIG`, `HOME`, `KUBERNETES_SERVICE_HOST` and `_PORT`. */
  env?: NodeJS.ProcessEnv;
}

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";
const sources = new WeakMap<KubeConfig, () => LoadedKubeConfig>();

/**
 * Reads and checks a kubeconfig as kubectl does.
 *
 * @param source a file's path, the kubeconfig's text (YAML or JSON), or its object. Without it: the files of `$KUBECONFIG`
 * (merged, the first to name an entry wins, missing ones are passed over), else `~/.kube/config`, else the pod's service account.
 * @throws KubeConfigError
 */
export function loadKubeConfig(source?: string | object, options: LoadOptions = {}): LoadedKubeConfig {
  return load(() => {
    if (source === undefined) return loadDefault(options.env ?? process.env);
    if (typeof source === "object" && source !== null && "getCurrentContext" in source)
      throw new KubeConfigError("path", "a KubeConfig", "it is loaded already: use it as it is");
    if (typeof source === "object") return parseParts(source, "the object", process.cwd());
    // Node would take a number for an open file.
    if (typeof source !== "string")
      throw new KubeConfigError("path", describe(source), "give a path, a text or an object");
    return isText(source) ? parseParts(parseText(source, "the text"), "the text", process.cwd()) : loadFile(source);
  }, options);
}

/** The pod's service account; null outside of a pod. */
export function loadServiceAccount(env: NodeJS.ProcessEnv = process.env): LoadedKubeConfig | null {
  return serviceAccount(env) === null ? null : load(() => serviceAccount(env) ?? loadDefault(env), {});
}

/** The same context from where `loadKubeConfig` read it; null if it was not read here or is no longer usable. */
export function reloadKubeConfig(kubeConfig: KubeConfig): KubeConfig | null {
  try {
    const fresh = sources.get(kubeConfig)?.();
    if (fresh === undefined) return null;
    fresh.setCurrentContext(kubeConfig.getCurrentContext());
    checkKubeConfig(fresh);
    // The connections of a Cluster belong to one server.
    return fresh.getCurrentCluster()?.server === kubeConfig.getCurrentCluster()?.server ? fresh : null;
  } catch {
    return null;
  }
}

function load(read: () => KubeConfigParts, { context, onPluginOutput }: LoadOptions): LoadedKubeConfig {
  const again = () => {
    const kubeConfig = new LoadedKubeConfig(read(), onPluginOutput);
    if (context) kubeConfig.setCurrentContext(context);
    checkKubeConfig(kubeConfig);
    sources.set(kubeConfig, again);
    return kubeConfig;
  };
  return again();
}

/** A text has several lines, or is JSON; a path is neither. */
function isText(source: string): boolean {
  return /[\n{]/.test(source);
}

function loadDefault(env: NodeJS.ProcessEnv): KubeConfigParts {
  const files = [...new Set((env.KUBECONFIG ?? "").split(path.delimiter).filter(Boolean))];
  const home = path.join(env.HOME || os.homedir(), ".kube", "config");
  const candidates = files.length > 0 ? files : [home];
  const present = candidates.filter((file) => fs.existsSync(file));
  const parts = mergeParts(present.map((file) => readPart(file)));
  // As kubectl: a file in the home of a pod may be empty, or say the namespace only.
  const saysWhere = parts.clusters.length + parts.users.length > 0;
  const inPod = saysWhere ? null : serviceAccount(env, named(parts.contexts, parts.currentContext)?.namespace);
  if (inPod !== null) return inPod;
  if (!isEmpty(parts)) return parts;
  if (present.length > 0) throw emptyError(present.join(path.delimiter));
  if (files.length > 0)
    throw new KubeConfigError("KUBECONFIG", files.join(path.delimiter), "none of these files exists");
  throw new KubeConfigError(
    "path",
    "none",
    `set KUBECONFIG, write ${home}, or run inside a pod with a service account`,
  );
}

/** One file that is all there is. */
function loadFile(file: string): KubeConfigParts {
  const parts = readPart(file);
  if (isEmpty(parts)) throw emptyError(file);
  return parts;
}

function isEmpty({ clusters, users, contexts }: KubeConfigParts): boolean {
  return clusters.length + users.length + contexts.length === 0;
}

function emptyError(files: string): KubeConfigError {
  return new KubeConfigError(
    "path",
    `${JSON.stringify(files)}, which is empty`,
    "write a kubeconfig there, e.g. with `kubectl config view --raw --flatten`",
  );
}

function readPart(file: string): KubeConfigParts {
  const source = JSON.stringify(file);
  return parseParts(parseText(readNamedFile("path", file), source), source, path.dirname(path.resolve(file)));
}

function serviceAccount(env: NodeJS.ProcessEnv, namespace?: string): KubeConfigParts | null {
  const host = env.KUBERNETES_SERVICE_HOST;
  if (!host || !fs.existsSync(`${SERVICE_ACCOUNT}/token`)) return null;
  const port = env.KUBERNETES_SERVICE_PORT || "443";
  const caFile = `${SERVICE_ACCOUNT}/ca.crt`;
  const namespaceFile = `${SERVICE_ACCOUNT}/namespace`;
  const name = "in-cluster";
  return {
    clusters: [
      {
        name,
        server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
        caFile: fs.existsSync(caFile) ? caFile : undefined,
      },
    ],
    users: [{ name, tokenFile: `${SERVICE_ACCOUNT}/token` }],
    contexts: [
      {
        name,
        cluster: name,
        user: name,
        namespace:
          namespace ?? (fs.existsSync(namespaceFile) ? fs.readFileSync(namespaceFile, "utf8").trim() : undefined),
      },
    ],
    currentContext: name,
  };
}
