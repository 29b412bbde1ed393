import { Option } from "commander";
import { Reflector } from "../engine/informer/reflector.ts";
import type { KubeObject } from "../engine/kubernetes.ts";
import { isForbidden, isUnauthorized } from "../engine/transport/index.ts";
import { aborted, defineCommand, troubleTeller, UsageError } from "./command.ts";
import { addTargetOptions, connect, DEFAULT_SELECTOR, type TargetOptions } from "./target.ts";

interface RecordOptions extends TargetOptions {
  selector?: string;
  labels?: string;
  raw: boolean;
}

export const recordCommand = defineCommand<RecordOptions>({
  name: "record",
  summary:
    "write what the watches of Jobs and pods tell, and when they open and are lost, to standard output, until Ctrl-C",
  configure: (command) =>
    addTargetOptions(command)
      .option("-l, --selector <selector>", `label selector, e.g. ${DEFAULT_SELECTOR}`)
      .addOption(new Option("--labels <selector>", "the same, as it was called before").hideHelp())
      .option("--raw", "leave values of environment variables in", false),
  async action({ selector, labels = selector, raw, ...target }, io) {
    if (labels === undefined) throw new UsageError(`-l is required: a label selector, e.g. -l ${DEFAULT_SELECTOR}`);
    const { cluster, namespace } = await connect(target, io);
    let start: number | null = null;
    const write = (frame: object) => {
      const now = performance.now();
      start ??= now;
      io.stdout.write(`${JSON.stringify({ ms: Math.round(now - start), ...frame })}\n`);
    };
    const watch = (resource: string, root: string) => {
      const tellTrouble = troubleTeller(io, resource);
      return new Reflector<KubeObject>({
        cluster,
        path: `${root}/namespaces/${encodeURIComponent(namespace)}/${resource}`,
        selectors: { labelSelector: labels },
        trim: (object) => object as KubeObject,
        tap: ({ type, object }) => write({ resource, type, object: raw ? object : withoutSecrets(object) }),
        handler: {
          init() {},
          initApply() {},
          initDone() {},
          apply() {},
          delete() {},
          watch: (type, error) => {
            if (type !== "listed" && !io.signal.aborted)
              write({ resource: "watch", watch: resource, type, ...refusal(error) });
            tellTrouble(error);
          },
        },
      });
    };
    const reflectors = [watch("jobs", "/apis/batch/v1"), watch("pods", "/api/v1")];
    for (const reflector of reflectors) reflector.start();
    await aborted(io.signal);
    await Promise.all(reflectors.map((each) => each.stop()));
    await cluster.close();
    return 0;
  },
});

function refusal(error: Error | null): { isRefused?: true } {
  return error !== null && (isForbidden(error) || isUnauthorized(error)) ? { isRefused: true } : {};
}

/** A recording is made to be shown to others: values of environment variables, and manifests kept in annotations, stay out. */
export function withoutSecrets(object: unknown): unknown {
  if (Array.isArray(object)) return object.map(withoutSecrets);
  if (typeof object !== "object" || object === null) return object;
  const copy: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(object)) {
    if (key === "kubectl.kubernetes.io/last-applied-configuration") continue;
    copy[key] = key === "env" && Array.isArray(value) ? value.map(withoutValue) : withoutSecrets(value);
  }
  return copy;
}

function withoutValue(variable: unknown): unknown {
  const isLiteral = typeof variable === "object" && variable !== null && "value" in variable;
  return isLiteral ? { ...variable, value: "<left out>" } : variable;
}
