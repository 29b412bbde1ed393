import { Option } from "commander";
import { reasonOf } from "../adapter/errors.ts";
import { PODS } from "../engine/engine-caches.ts";
import { containerFacts } from "../engine/facts.ts";
import { Informer } from "../engine/informer/informer.ts";
import type { Pod } from "../engine/kubernetes.ts";
import { followLogs } from "../engine/logs/index.ts";
import { nextChange } from "../engine/logs/next-change.ts";
import type { Cluster } from "../engine/transport/index.ts";
import { aborted, defineCommand, troubleTeller, UsageError } from "./command.ts";
import { expression, pattern } from "./log-lines.ts";
import { type Label, Printer, type PrinterOptions, runOf } from "./log-printer.ts";
import { type PodContainer, PodLogs } from "./pod-logs.ts";
import { addTargetOptions, connect, DEFAULT_SELECTOR, durationMs, type TargetOptions, wholeNumber } from "./target.ts";

export const logsCommand = defineCommand<LogsArguments>({
  name: "logs",
  summary:
    "print the logs of all matching runs, each line once, with the run's name in front. A thousand of them share four connections",
  configure: (command) =>
    addTargetOptions(command)
      .argument("[query]", "job/NAME, pod/NAME, or a regular expression that the run's or the pod's name matches")
      .option("-l, --selector <selector>", `label selector of the pods, e.g. ${DEFAULT_SELECTOR}`)
      .addOption(new Option("--labels <selector>", "the same, as it was called before").hideHelp())
      .option(
        "-f, --follow",
        "go on with lines as they come, until Ctrl-C; + and - say when a run starts and ends",
        false,
      )
      .option("-A, --all-namespaces", "in every namespace", false)
      .option("-c, --container <name>", "only this container (default: all, init containers included)")
      .option("--no-init-containers", "leave init containers out")
      .option("--tail <lines>", "begin with the last lines of each", wholeNumber(0))
      .option("--since <duration>", "begin with lines of the last 90s, 10m, 2h, 1d", durationMs)
      .option("-i, --include <regex>", "only lines that match; may be repeated", pattern("--include"), [])
      .option("-e, --exclude <regex>", "no lines that match; may be repeated", pattern("--exclude"), [])
      .option("-H, --highlight <regex>", "show in red what matches; may be repeated", pattern("--highlight"), [])
      .addOption(
        new Option("-o, --output <format>", "how a line is printed").choices(["default", "json", "raw", "template"]),
      )
      .option("--template <text>", "with -o template, e.g. '{{.run}} {{.nodeName}} {{.message}}'")
      .addOption(new Option("--color <when>", "colours").choices(["auto", "always", "never"]).default("auto"))
      .option("--only-log-lines", "nothing but lines: no + and -, no gaps, no restarts", false)
      .option("-t, --timestamps", "the node's time in front of each line", false),
  async action({ labels, ...given }, io, [query]) {
    const options: LogsOptions = { ...given, ...wanted(query, given.selector ?? labels) };
    const printer = new Printer(io, options);
    const { cluster, namespace } = await connect(options, io);
    const pods = new Informer<Pod>({
      cluster,
      resource: PODS,
      namespaces: options.allNamespaces ? null : [namespace],
      labelSelector: options.selector,
    });
    const tellTrouble = troubleTeller(io, "pods");
    // Before the first list it is `whenSynced` that fails.
    pods.onWatch(({ error }) => pods.synced && tellTrouble(error));
    pods.start();
    const left = new AbortController();
    const ended = AbortSignal.any([io.signal, left.signal]);
    const follows = new Set<Promise<void>>();
    let failed = false;
    let listed = false;
    const logs = new PodLogs(options, (each) => {
      if ((listed && !options.follow) || !options.isWanted(each.pod)) return;
      const label = printer.label(each.pod, each.source.container);
      const follow = printLog(cluster, each, label, printer, options, ended)
        .catch((error) => {
          if (ended.aborted) return;
          failed = true;
          printer.tell(label, reasonOf(error));
        })
        .finally(() => follows.delete(follow));
      follows.add(follow);
    });
    try {
      await pods.whenSynced(ended);
      const stop = logs.watch(pods);
      listed = true;
      if (options.follow) {
        await aborted(ended);
      } else if (follows.size === 0) {
        const where = options.allNamespaces ? "any namespace" : `namespace ${namespace}`;
        io.stderr.write(`no pod matches ${query ?? options.selector} in ${where}\n`);
      }
      await Promise.all(follows);
      stop();
    } catch (error) {
      if (!io.signal.aborted) throw error;
    } finally {
      left.abort();
      await pods.stop();
      await cluster.close();
    }
    return failed ? 1 : 0;
  },
});

interface LogsArguments extends TargetOptions, PrinterOptions {
  selector?: string;
  labels?: string;
  follow: boolean;
  allNamespaces: boolean;
  container?: string;
  initContainers: boolean;
  tail?: number;
  /** Milliseconds. */
  since?: number;
  onlyLogLines: boolean;
}

interface Wanted {
  selector: string | undefined;
  isWanted(pod: Pod): boolean;
}

type LogsOptions = Omit<LogsArguments, "selector"> & Wanted;

/** Which pods are meant: by labels, by name, or by both. @throws UsageError */
function wanted(query: string | undefined, selector: string | undefined): Wanted {
  if (query === undefined) {
    if (!selector) throw new UsageError(`give job/NAME, a pattern of names, or -l, e.g. -l ${DEFAULT_SELECTOR}`);
    return { selector, isWanted: () => true };
  }
  const [, kind, name = ""] = /^(jobs?|pods?|po)\/(.*)$/.exec(query) ?? [];
  if (kind === undefined) {
    const named = expression("query", query);
    return { selector, isWanted: (pod) => named.test(runOf(pod)) || named.test(pod.metadata.name) };
  }
  if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name))
    throw new UsageError(`query: got ${JSON.stringify(query)}; give job/NAME or pod/NAME with a whole name`);
  if (kind.startsWith("po")) return { selector, isWanted: (pod) => pod.metadata.name === name };
  const ofJob = `job-name=${name}`;
  return { selector: selector === undefined ? ofJob : `${selector},${ofJob}`, isWanted: () => true };
}

async function printLog(
  cluster: Cluster,
  { source, last }: PodContainer,
  label: Label,
  printer: Printer,
  { follow, tail, since, onlyLogLines }: LogsOptions,
  signal: AbortSignal,
): Promise<void> {
  const tell = onlyLogLines ? () => {} : (message: string, mark?: string) => printer.tell(label, message, mark);
  while (follow && source.view().phase === "waiting" && !signal.aborted) await nextChange(source, signal);
  const hasStarted = source.view().startedAt !== null;
  if (follow && hasStarted) tell("", "+ ");
  const stream = followLogs(cluster, source, {
    follow,
    tailLines: tail,
    since: since === undefined ? undefined : new Date(Date.now() - since),
    signal,
    onGap: (gap) => tell(gap.message),
    onRestart: ({ restartCount }) => tell(`restarted (${restartCount})`),
  });
  for await (const lines of stream.batches()) await printer.print(label, lines, signal);
  if (follow && !signal.aborted) tell(endOf(last(), source.container), "- ");
}

/** In few words, for the line that says that a container has ended. */
function endOf(pod: Pod, container: string): string {
  const facts = containerFacts(pod, container);
  if (facts.state === "ended")
    return `exit code ${facts.exitCode}${["", "Completed", "Error"].includes(facts.reason) ? "" : `, ${facts.reason}`}`;
  if (facts.state === "never started") return `could not start: ${facts.reason}`;
  return "deleted";
}
