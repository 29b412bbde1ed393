import path from "node:path";
import { isRecord } from "../../json/read-json.ts";
import type { KubeCluster, KubeConfigParts, KubeContext, KubeUser } from "./kube-config.ts";
import { describe, KubeConfigError } from "./kube-config-error.ts";

/** A document of kind `Config` as it stands in a file: `clusters`, `users`, `contexts`, `current-context`. */
type Fields = Record<string, unknown>;

/**
 * One part of a kubeconfig. Entries may be unfinished, since what the current context does not lead to is of no interest; but,
 * as for kubectl, no value may have a wrong type, and no name may stand twice.
 *
 * @param directory what paths in it are relative to
 * @throws KubeConfigError
 */
export function parseParts(document: unknown, source: string, directory: string): KubeConfigParts {
  const isConfig = isRecord(document) && (document.kind || "Config") === "Config";
  if (document !== null && document !== undefined && !isConfig) {
    const got = isRecord(document) ? `a document of kind ${describe(document.kind)}` : describe(document);
    throw new KubeConfigError(
      "clusters",
      got,
      `${source} is no kubeconfig: expected a list of clusters, of kind Config`,
    );
  }
  const config = new Reader(document ?? {}, "");
  return {
    clusters: config.entries("clusters", "cluster").map(([name, fields]) => toCluster(name, fields, directory)),
    users: config.entries("users", "user").map(([name, fields]) => toUser(name, fields, directory)),
    contexts: config.entries("contexts", "context").map(([name, fields]) => toContext(name, fields)),
    currentContext: config.text("current-context") ?? "",
  };
}

/** As kubectl: the first part to have a name, or a current context, wins, also where it says less. */
export function mergeParts(parts: readonly KubeConfigParts[]): KubeConfigParts {
  const merge = <T extends { readonly name: string }>(all: readonly T[]): T[] => {
    const firsts = new Map<string, T>();
    for (const each of all) if (!firsts.has(each.name)) firsts.set(each.name, each);
    return [...firsts.values()];
  };
  return {
    clusters: merge(parts.flatMap(({ clusters }) => clusters)),
    users: merge(parts.flatMap(({ users }) => users)),
    contexts: merge(parts.flatMap(({ contexts }) => contexts)),
    currentContext: parts.find(({ currentContext }) => currentContext !== "")?.currentContext ?? "",
  };
}

function toCluster(name: string, fields: Reader, directory: string): KubeCluster {
  const extensions = fields.list("extensions").filter(isRecord);
  return {
    name,
    server: fields.text("server") ?? "",
    caData: fields.text("certificate-authority-data"),
    caFile: resolve(directory, fields.text("certificate-authority")),
    skipTLSVerify: fields.flag("insecure-skip-tls-verify"),
    tlsServerName: fields.text("tls-server-name"),
    proxyUrl: fields.text("proxy-url"),
    disableCompression: fields.flag("disable-compression"),
    execConfig: extensions.find((each) => each.name === "client.authentication.k8s.io/exec")?.extension,
  };
}

function toUser(name: string, fields: Reader, directory: string): KubeUser {
  return {
    name,
    token: fields.text("token"),
    tokenFile: resolve(directory, fields.text("tokenFile")),
    username: fields.text("username"),
    password: fields.text("password"),
    certData: fields.text("client-certificate-data"),
    certFile: resolve(directory, fields.text("client-certificate")),
    keyData: fields.text("client-key-data"),
    keyFile: resolve(directory, fields.text("client-key")),
    exec: toExec(fields.mapping("exec"), directory),
    authProvider: toAuthProvider(fields.mapping("auth-provider")),
    impersonateUser: fields.text("as"),
    impersonateUid: fields.text("as-uid"),
    impersonateGroups: fields.texts("as-groups"),
    impersonateExtra: fields.textLists("as-user-extra"),
  };
}

function toExec(exec: Reader | undefined, directory: string): object | undefined {
  if (exec === undefined) return undefined;
  const command = exec.text("command");
  return {
    apiVersion: exec.text("apiVersion"),
    // With a slash it is relative to the kubeconfig, without one it is looked for in PATH.
    command: command?.includes("/") ? resolve(directory, command) : command,
    args: exec.texts("args"),
    env: exec.mappings("env").map((each) => ({ name: each.text("name"), value: each.text("value") })),
    installHint: exec.text("installHint"),
    interactiveMode: exec.text("interactiveMode"),
    provideClusterInfo: exec.flag("provideClusterInfo"),
  };
}

function toAuthProvider(provider: Reader | undefined): object | undefined {
  return provider && { name: provider.text("name"), config: provider.mapping("config")?.allTexts() };
}

function toContext(name: string, fields: Reader): KubeContext {
  return {
    name,
    cluster: fields.text("cluster") ?? "",
    user: fields.text("user"),
    namespace: fields.text("namespace"),
  };
}

function resolve(directory: string, file: string | undefined): string | undefined {
  return file === undefined ? undefined : path.resolve(directory, file);
}

/** Reads fields of one mapping. A null, and an empty text, are as good as nothing; what has another type is an error. */
class Reader {
  readonly #fields: Fields;
  readonly #at: string;

  constructor(fields: Fields, at: string) {
    this.#fields = fields;
    this.#at = at;
  }

  text(key: string): string | undefined {
    const value = this.#fields[key] ?? "";
    if (typeof value !== "string") throw this.#wrong(key, value, "expected a text: put it in quotes");
    return value === "" ? undefined : value;
  }

  flag(key: string): boolean {
    const value = this.#fields[key] ?? false;
    if (typeof value !== "boolean") throw this.#wrong(key, value, "expected true or false, without quotes");
    return value;
  }

  list(key: string): unknown[] {
    const value = this.#fields[key] ?? [];
    if (!Array.isArray(value)) throw this.#wrong(key, value, "expected a list");
    return value;
  }

  mapping(key: string): Reader | undefined {
    const value = this.#fields[key] ?? undefined;
    if (value !== undefined && !isRecord(value)) throw this.#wrong(key, value, "expected a mapping");
    return value && new Reader(value, this.#name(key));
  }

  texts(key: string): string[] | undefined {
    // As kubectl: a null is an empty text.
    const values = this.list(key).map((each) => each ?? "");
    const wrong = values.find((each) => typeof each !== "string");
    if (wrong !== undefined) throw this.#wrong(key, wrong, "expected texts: put each in quotes");
    return values.length === 0 ? undefined : ([...values] as string[]);
  }

  textLists(key: string): Record<string, string[]> | undefined {
    const lists = this.mapping(key);
    return lists && Object.fromEntries(Object.keys(lists.#fields).map((each) => [each, lists.texts(each) ?? []]));
  }

  allTexts(): Record<string, string | undefined> {
    return Object.fromEntries(Object.keys(this.#fields).map((each) => [each, this.text(each)]));
  }

  mappings(key: string): Reader[] {
    return this.list(key).map((each, index) => {
      if (each !== null && !isRecord(each)) throw this.#wrong(`${key}[${index}]`, each, "expected a mapping");
      return new Reader(each ?? {}, `${this.#name(key)}[${index}]`);
    });
  }

  /** `[{ name, [member]: { … } }]`; what is no mapping in the list is passed over, as kubectl passes over a null. */
  entries(key: string, member: string): [name: string, fields: Reader][] {
    const seen = new Set<string>();
    return this.list(key).flatMap((entry, index) => {
      if (entry === null) return [];
      if (!isRecord(entry)) throw this.#wrong(`${key}[${index}]`, entry, `expected name and ${member}`);
      const name = new Reader(entry, `${key}[${index}]`).text("name") ?? "";
      if (seen.has(name)) throw this.#wrong(key, name, "this name stands twice in one file: name each entry once");
      seen.add(name);
      const at = `${key}[${name}]`;
      return [[name, new Reader(entry, at).mapping(member) ?? new Reader({}, `${at}.${member}`)]];
    });
  }

  #name(key: string): string {
    return this.#at === "" ? key : `${this.#at}.${key}`;
  }

  #wrong(key: string, value: unknown, hint: string): KubeConfigError {
    return new KubeConfigError(this.#name(key), describe(value), hint);
  }
}
