import { styleText } from "node:util";
import { Option } from "commander";
import { printable } from "../adapter/host/printable.ts";
import { Informer } from "../engine/informer/informer.ts";
import { trimPod } from "../engine/informer/trim.ts";
import type { Pod } from "../engine/kubernetes.ts";
import { followLogs, type LogLine, type LogSource } from "../engine/logs/index.ts";
import type { Cluster } from "../engine/transport/index.ts";
import { type CommandIo, defineCommand, UsageError } from "./command.ts";
import { PodLogs } from "./pod-logs.ts";
import { addTargetOptions, connect, DEFAULT_SELECTOR, durationMs, type TargetOptions, wholeNumber } from "./target.ts";

export const logsCommand = defineCommand<LogsArguments>({
  name: "logs",
  summary: "print the logs of all matching runs, each line once, with the run's name in front",
  configure: (command) =>
    addTargetOptions(command)
      .option("-l, --selector <selector>", `label selector of the pods, e.g. ${DEFAULT_SELECTOR}`)
      .addOption(new Option("--labels <selector>", "the same, as it was called before").hideHelp())
      .option("-f, --follow", "go on with lines as they come, until Ctrl-C", false)
      .option("-A, --all-namespaces", "in every namespace", false)
      .option("-c, --container <name>", "only this container, init containers included (default: all main containers)")
      .option("--tail <lines>", "begin with the last lines of each", wholeNumber(0))
      .option("--since <duration>", "begin with lines of the last 90s, 10m, 2h, 1d", durationMs)
      .option("--timestamps", "the node's time in front of each line", false),
  async action({ labels, selector = labels, ...given }, io) {
    if (!selector) throw new UsageError(`-l is required: a label selector, e.g. -l ${DEFAULT_SELECTOR}`);
    const options = { ...given, selector };
    const { cluster, namespace } = await connect(options, io.signal);
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
});

type LogsOptions = LogsArguments & { selector: string };

interface LogsArguments extends TargetOptions {
  selector?: string;
  labels?: string;
  follow: boolean;
  allNamespaces: boolean;
  container?: string;
  tail?: number;
  /** Milliseconds. */
  since?: number;
  timestamps: boolean;
}

async function printLog(
  cluster: Cluster,
  source: LogSource,
  label: Label,
  printer: Printer,
  options: LogsOptions,
  signal: AbortSignal,
): Promise<void> {
  const { follow, tail, since } = options;
  const stream = followLogs(cluster, source, {
    follow,
    tailLines: tail,
    since: since === undefined ? undefined : new Date(Date.now() - since),
    signal,
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
