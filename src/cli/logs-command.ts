import { parseArgs, styleText } from "node:util";
import { printable } from "../adapter/run/printable.ts";
import { Informer } from "../engine/informer/informer.ts";
import { trimPod } from "../engine/informer/trim.ts";
import type { Pod } from "../engine/kubernetes.ts";
import { followLogs, type LogLine, type LogSource } from "../engine/logs/index.ts";
import { Cluster, loadKubeConfig } from "../engine/transport/index.ts";
import { type Command, type CommandIo, UsageError } from "./command.ts";
import { PodLogs } from "./pod-logs.ts";

export const logsCommand: Command = {
  summary:
    "print the logs of all matching runs, each line once, with the run's name in front; with -f as they come, until Ctrl-C",
  usage:
    "logs -l SELECTOR [-f] [-n NS | --all-namespaces] [-c CONTAINER] [--tail LINES] [--since 10m] [--timestamps] [--kubeconfig FILE]",
  async run(argv, io) {
    const options = parseOptions(argv);
    const kubeConfig = loadKubeConfig(options.kubeconfig);
    const namespace =
      options.namespace ?? kubeConfig.getContextObject(kubeConfig.getCurrentContext())?.namespace ?? "default";
    const cluster = new Cluster({ kubeConfig });
    const pods = new Informer<Pod>({
      cluster,
      resource: { plural: "pods", root: "/api/v1", trim: trimPod },
      namespaces: options.allNamespaces ? null : [namespace],
      labelSelector: options.selector,
    });
    tellTrouble(pods, io);
    pods.start();
    const printer = new Printer(io, options);
    const ended = new AbortController();
    const end = () => ended.abort(io.signal.reason);
    if (io.signal.aborted) end();
    else io.signal.addEventListener("abort", end, { once: true });
    const follows = new Set<Promise<void>>();
    let failed = false;
    let listed = false;
    const logs = new PodLogs(options.container, (pod, source) => {
      if (listed && !options.follow) return;
      const label = printer.label(pod, source.container);
      const follow = printLog(cluster, source, label, printer, options, ended.signal)
        .catch((error) => {
          if (ended.signal.aborted) return;
          failed = true;
          printer.tell(label, error instanceof Error ? error.message : String(error));
        })
        .finally(() => follows.delete(follow));
      follows.add(follow);
    });
    try {
      await pods.whenSynced(ended.signal);
      const stop = logs.watch(pods);
      listed = true;
      if (options.follow) {
        await aborted(ended.signal);
      } else if (follows.size === 0) {
        io.stderr.write(
          `no pod matches ${options.selector} in ${options.allNamespaces ? "any namespace" : `namespace ${namespace}`}\n`,
        );
      }
      await Promise.all(follows);
      stop();
    } catch (error) {
      if (!io.signal.aborted) throw error;
    } finally {
      io.signal.removeEventListener("abort", end);
      ended.abort();
      await pods.stop();
      await cluster.close();
    }
    return failed ? 1 : 0;
  },
};

interface LogsOptions {
  selector: string;
  follow: boolean;
  namespace: string | undefined;
  allNamespaces: boolean;
  container: string | undefined;
  tailLines: number | undefined;
  since: Date | undefined;
  timestamps: boolean;
  kubeconfig: string | undefined;
}

function parseOptions(argv: string[]): LogsOptions {
  const { values } = parseArgs({
    args: argv,
    options: {
      selector: { type: "string", short: "l" },
      labels: { type: "string" },
      follow: { type: "boolean", short: "f", default: false },
      namespace: { type: "string", short: "n" },
      "all-namespaces": { type: "boolean", short: "A", default: false },
      container: { type: "string", short: "c" },
      tail: { type: "string" },
      since: { type: "string" },
      timestamps: { type: "boolean", default: false },
      kubeconfig: { type: "string" },
    },
  });
  const selector = values.selector ?? values.labels;
  if (!selector) throw new UsageError("-l is required: a label selector, e.g. -l paperclip.io/adapter-type=claude_k8s");
  const { tail, since } = values;
  if (tail !== undefined && !/^\d+$/.test(tail))
    throw new UsageError(`--tail: got ${JSON.stringify(tail)}; give a number of lines`);
  return {
    selector,
    follow: values.follow,
    namespace: values.namespace,
    allNamespaces: values["all-namespaces"],
    container: values.container,
    tailLines: tail === undefined ? undefined : Number(tail),
    since: since === undefined ? undefined : new Date(Date.now() - durationMs(since)),
    timestamps: values.timestamps,
    kubeconfig: values.kubeconfig,
  };
}

const UNIT_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function durationMs(text: string): number {
  const match = /^(\d+)([smhd])$/.exec(text);
  const unit = UNIT_MS[match?.[2] ?? ""];
  if (!match || unit === undefined)
    throw new UsageError(`--since: got ${JSON.stringify(text)}; give a duration such as 90s, 10m, 2h or 1d`);
  return Number(match[1]) * unit;
}

/** Without -f: the container is taken as one that will say no more. */
function asItStands(source: LogSource): LogSource {
  const view = () => {
    const now = source.view();
    return now.phase === "running" ? ({ ...now, phase: "ended" } as const) : now;
  };
  return { ...source, view };
}

async function printLog(
  cluster: Cluster,
  source: LogSource,
  label: Label,
  printer: Printer,
  options: LogsOptions,
  signal: AbortSignal,
): Promise<void> {
  const { follow, tailLines, since } = options;
  const { phase } = source.view();
  // Nothing to wait for: the container has not started.
  if (!follow && phase === "waiting") return;
  const stream = followLogs(cluster, follow ? source : asItStands(source), {
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(since === undefined ? {} : { since }),
    signal,
    // A container that runs may go on for ever: what one whole read shows is what there is.
    ...(!follow && phase === "running" ? { isLastLine: () => true } : {}),
    onGap: (gap) => printer.tell(label, gap.message),
    onRestart: ({ restartCount }) => printer.tell(label, `restarted (${restartCount})`),
  });
  for await (const lines of stream.batches()) await printer.print(label, lines, signal);
}

/** What stands in front of a run's lines, and its colour. */
interface Label {
  text: string;
  colour: Colour;
}

type Colour = (typeof COLOURS)[number];
const COLOURS = [
  "cyan",
  "green",
  "magenta",
  "yellow",
  "blue",
  "red",
  "cyanBright",
  "greenBright",
  "magentaBright",
  "yellowBright",
] as const;

class Printer {
  readonly #io: CommandIo;
  readonly #timestamps: boolean;
  /** A pipe gets every byte; a terminal would do what the agent's escapes tell it. */
  readonly #isTerminal: boolean;
  readonly #colours = new Map<string, Colour>();

  constructor(io: CommandIo, { timestamps }: LogsOptions) {
    this.#io = io;
    this.#timestamps = timestamps;
    this.#isTerminal = (io.stdout as NodeJS.WriteStream).isTTY === true;
  }

  label(pod: Pod, container: string): Label {
    const { name, labels = {} } = pod.metadata;
    const run = labels["batch.kubernetes.io/job-name"] ?? labels["job-name"] ?? name;
    let colour = this.#colours.get(run);
    if (colour === undefined) {
      colour = COLOURS[this.#colours.size % COLOURS.length] as Colour;
      this.#colours.set(run, colour);
    }
    return { text: pod.spec.containers.length > 1 ? `${run} ${container}` : run, colour };
  }

  /** Waits for a slow terminal or pipe, which by that holds the follow back, and the server. */
  async print({ text, colour }: Label, lines: readonly LogLine[], signal: AbortSignal): Promise<void> {
    const { stdout } = this.#io;
    // styleText leaves colours out where the stream is no terminal, and under NO_COLOR.
    const prefix = styleText(colour, text, { stream: stdout as NodeJS.WriteStream });
    let out = "";
    for (const { text, time } of lines) {
      out += `${prefix} ${this.#timestamps ? `${time} ` : ""}${this.#isTerminal ? printable(text) : text}\n`;
    }
    if (out === "" || stdout.write(out)) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        stdout.off("drain", done);
        stdout.off("close", done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      stdout.on("drain", done);
      stdout.on("close", done);
      signal.addEventListener("abort", done);
    });
  }

  tell({ text, colour }: Label, message: string): void {
    const { stderr } = this.#io;
    const prefix = styleText(colour, text, { stream: stderr as NodeJS.WriteStream });
    stderr.write(`${prefix} ${styleText("dim", printable(message), { stream: stderr as NodeJS.WriteStream })}\n`);
  }
}

function tellTrouble(pods: Informer<Pod>, { stderr }: CommandIo): void {
  let told: Error | null = null;
  pods.onWatch(({ error }) => {
    // Before the first list it is `whenSynced` that fails.
    if (error !== null && pods.synced && error.message !== told?.message)
      stderr.write(`pods: ${printable(error.message)}\n`);
    told = error;
  });
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
