import { type Command, InvalidArgumentError } from "commander";
import { ApiError, Cluster, KubeConfigError, loadKubeConfig } from "../engine/index.ts";
import { type CommandIo, UsageError } from "./command.ts";

/** Which cluster and namespace: the same spelling in every command. */
export interface TargetOptions {
  namespace?: string;
  context?: string;
  kubeconfig?: string;
}

export interface Target {
  kubeConfig: ReturnType<typeof loadKubeConfig>;
  namespace: string;
}

/** The label that every Job of the adapter carries. */
export const DEFAULT_SELECTOR = "paperclip.io/adapter-type=claude_k8s";

export function addTargetOptions(command: Command): Command {
  return command
    .option("-n, --namespace <name>", "namespace (default: the context's, else `default`)")
    .option("--context <name>", "context of the kubeconfig (default: its current one)")
    .option("--kubeconfig <file>", "kubeconfig (default: $KUBECONFIG, ~/.kube/config, or the pod's service account)");
}

export function addSelectorOption(command: Command): Command {
  return command.option("-l, --selector <selector>", "labels of the Jobs and their pods", DEFAULT_SELECTOR);
}

/** @throws KubeConfigError, UsageError */
export function targetOf({ namespace, context, kubeconfig }: TargetOptions): Target {
  const kubeConfig = load(kubeconfig, context);
  const ofContext = kubeConfig.getContextObject(kubeConfig.getCurrentContext())?.namespace;
  return { kubeConfig, namespace: namespace ?? ofContext ?? "default" };
}

function load(kubeconfig: string | undefined, context: string | undefined): Target["kubeConfig"] {
  try {
    return loadKubeConfig(kubeconfig, { context });
  } catch (error) {
    if (context === undefined || !(error instanceof KubeConfigError) || error.field !== "current-context") throw error;
    throw new UsageError(`--context: there is no context ${JSON.stringify(context)}; ${error.hint}`);
  }
}

/**
 * Connects, and makes sure that the server answers, so that a command fails within two seconds where there is none. A credential
 * plugin takes the time that it needs before them.
 * @throws ApiError, KubeConfigError, UsageError
 */
export async function connect(
  options: TargetOptions,
  { signal, answerMs = 2_000 }: Pick<CommandIo, "signal" | "answerMs">,
): Promise<{ cluster: Cluster } & Target> {
  const target = targetOf(options);
  const cluster = new Cluster({ kubeConfig: target.kubeConfig });
  try {
    await cluster.login(signal);
    await cluster.json({ path: "/version", timeoutMs: answerMs, maxAttempts: 1, signal });
  } catch (error) {
    // Whatever status it has, the server has answered.
    if (!(error instanceof ApiError) || error.status === 0) {
      await cluster.close();
      throw error;
    }
  }
  return { cluster, ...target };
}

/** `--selector a=b,c=d` as labels, for what selects by equality. @throws UsageError */
export function labelsOf(selector: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const part of selector.split(",")) {
    const [key, value, ...more] = part.split(/==?/);
    if (!key?.trim() || value === undefined || more.length > 0 || /[!()\s]/.test(key.trim()))
      throw new UsageError(`--selector: got ${JSON.stringify(part)}; give KEY=VALUE, several with commas`);
    labels[key.trim()] = value.trim();
  }
  return labels;
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** For commander: `90s`, `10m`, `2h`, `1d` as milliseconds. */
export function durationMs(text: string): number {
  const match = /^(\d+)([smhd])$/.exec(text);
  const unit = UNIT_MS[match?.[2] ?? ""];
  if (!match || unit === undefined)
    throw new InvalidArgumentError(`got ${JSON.stringify(text)}; give a duration such as 90s, 10m, 2h or 1d`);
  return Number(match[1]) * unit;
}

/** For commander: a whole number of at least `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`got ${JSON.stringify(text)}; give a whole number of at least ${least}`);
  };
}
