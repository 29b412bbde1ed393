import { isDnsLabel, isLabelKey, isLabelValue } from "../kubernetes-names.ts";
import type { RunEngineOptions } from "./engine-types.ts";
import { type JobInput, type JobManifest, severalPods } from "./runs/launch.ts";
import { shardLabels, withLabels } from "./shard.ts";

type ScopeOptions = Pick<RunEngineOptions, "kubeConfig" | "namespace" | "labels" | "shard">;

/** What an engine watches: the namespaces, and the labels that select its Jobs and their pods. */
export class Scope {
  readonly labels: Readonly<Record<string, string>>;
  /** One label, or none where there are no shards. */
  readonly shard: Readonly<Record<string, string>>;
  /** Null: all namespaces. */
  readonly namespaces: readonly string[] | null;

  /** @throws TypeError naming the bad option */
  constructor(options: ScopeOptions) {
    const { kubeConfig } = options as Partial<ScopeOptions>;
    // Its kind only: a kubeconfig holds credentials.
    if (typeof kubeConfig?.getContextObject !== "function")
      throw new TypeError(`kubeConfig must be what loadKubeConfig returns, got ${typeof kubeConfig}`);
    this.labels = { ...options.labels };
    this.shard = shardLabels(options.shard);
    this.selector();
    this.namespaces = namespacesOf(options);
  }

  get defaultNamespace(): string {
    return this.namespaces?.[0] ?? "default";
  }

  /** A label selector of the engine's own labels and these. */
  selector(more: Readonly<Record<string, string>> = {}): string {
    const entries = Object.entries({ ...this.labels, ...more });
    if (entries.length === 0)
      throw new TypeError("labels must name at least one label that the Jobs and their pods carry, got {}");
    // The API server answers 400 to any other selector: the watches would never open.
    for (const [key, value] of entries) {
      if (!isLabelKey(key))
        throw new TypeError(
          `labels: keys must be Kubernetes label keys, such as example.com/app; got ${JSON.stringify(key)}`,
        );
      if (!isLabelValue(value))
        throw new TypeError(
          `labels[${JSON.stringify(key)}] must be a string of at most 63 letters, digits, "-", "_" and ".", got ${JSON.stringify(value)}`,
        );
    }
    return entries.map(([key, value]) => `${key}=${value}`).join(",");
  }

  /** @throws TypeError when the engine does not watch this namespace */
  check(namespace: string): void {
    if (this.namespaces === null || this.namespaces.includes(namespace)) return;
    throw new TypeError(
      `namespace ${JSON.stringify(namespace)} is not watched by this engine; it watches ${this.namespaces.join(", ")}`,
    );
  }

  /**
   * The manifest as it is to be created: with the labels that the watches select by on the Job and its pod template.
   * @throws TypeError for a Job that the watches would not see, or that is more than one run
   */
  manifestOf(input: JobInput): { namespace: string; name: string; manifest: JobManifest } {
    const job = input as JobManifest;
    if (typeof job !== "object" || job === null)
      throw new TypeError(`a Job's manifest must be an object, got ${JSON.stringify(job)}`);
    const { name, namespace = this.defaultNamespace } = job.metadata ?? {};
    if (typeof name !== "string" || name === "") {
      throw new TypeError(
        `metadata.name must be a non-empty string, got ${JSON.stringify(name)} (generateName is not supported)`,
      );
    }
    this.check(namespace);
    if (typeof job.spec?.template !== "object" || job.spec.template === null)
      throw new TypeError(`spec.template must be a pod template, got ${JSON.stringify(job.spec?.template)}`);
    const several = severalPods(job.spec);
    if (several !== null) throw new TypeError(several);
    const labelled = {
      "metadata.labels": job.metadata.labels,
      "spec.template.metadata.labels": job.spec.template.metadata?.labels,
    };
    for (const [field, labels] of Object.entries(labelled)) {
      for (const [key, value] of Object.entries(this.labels)) {
        if (labels?.[key] === undefined || labels[key] === value) continue;
        throw new TypeError(
          `${field}[${JSON.stringify(key)}] must be ${JSON.stringify(value)}, which the watches select by, or left out; got ${JSON.stringify(labels[key])}`,
        );
      }
    }
    return { namespace, name, manifest: withLabels(job, { ...this.labels, ...this.shard }) };
  }
}

function namespacesOf({ namespace, kubeConfig }: ScopeOptions): readonly string[] | null {
  if (namespace === "*") return null;
  const context = kubeConfig.getContextObject(kubeConfig.getCurrentContext());
  const names =
    namespace === undefined
      ? [context?.namespace ?? "default"]
      : typeof namespace === "string"
        ? [namespace]
        : [...new Set(namespace)];
  for (const name of names) {
    if (!isDnsLabel(name)) {
      throw new TypeError(
        `namespace must be a Kubernetes namespace name, a list of them, or "*"; got ${JSON.stringify(name)}`,
      );
    }
  }
  if (names.length === 0) throw new TypeError('namespace must not be an empty list; use "*" for all namespaces');
  return names;
}
