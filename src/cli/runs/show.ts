import { printable } from "../../adapter/host/printable.ts";
import {
  type Cluster,
  type ClusterEvent,
  containerFacts,
  containerView,
  followLogs,
  isForbidden,
  listEvents,
  type Pod,
  type RunEngine,
} from "../../engine/index.ts";
import { defineCommand } from "../command.ts";
import { addSelectorOption, addTargetOptions, wholeNumber } from "../target.ts";
import { formatAge } from "../text-width.ts";
import { type SelectionOptions, withEngine } from "./list.ts";
import { byOwner, rowOf } from "./run-row.ts";

interface ShowOptions extends SelectionOptions {
  tail: number;
}

export const showCommand = defineCommand<ShowOptions>({
  name: "show",
  summary: "one run: where it stands, its pod's containers, its events, and the end of its log",
  configure: (command) =>
    addSelectorOption(addTargetOptions(command))
      .option("--tail <lines>", "lines of the log", wholeNumber(0), 20)
      .argument("<job>", "name of a Job"),
  async action({ tail, ...selection }, io, [name = ""]) {
    return await withEngine(selection, io, async (engine, namespace) => {
      const lines = await describeRun(engine, namespace, name, tail, io.signal);
      if (lines === null) {
        io.stderr.write(`there is no run ${name} in namespace ${namespace}\n`);
        return 1;
      }
      io.stdout.write(`${lines.map(printable).join("\n")}\n`);
      return 0;
    });
  },
});

/** Null: there is no such run. @throws ApiError */
export async function describeRun(
  engine: RunEngine,
  namespace: string,
  name: string,
  tail: number,
  signal: AbortSignal,
): Promise<string[] | null> {
  const job = engine.jobs.get(namespace, name);
  if (job === undefined) return null;
  const pods = byOwner(engine.pods.list()).get(job.metadata.uid) ?? [];
  const row = rowOf(job, pods, Date.now());
  const pod = pods.at(-1);
  const events = await eventsOf(
    engine.cluster,
    namespace,
    [name, ...pods.map(({ metadata }) => metadata.name)],
    signal,
  );
  return [
    `Run:    ${name}`,
    `Agent:  ${row.agent || "-"}`,
    `Phase:  ${row.phase}: ${row.text}`,
    `Age:    ${formatAge(row.ageMs)}`,
    `Node:   ${row.node || "-"}`,
    ...(pod === undefined
      ? []
      : ["", "Containers:", ...pod.spec.containers.map(({ name: each }) => `  ${containerLine(pod, each)}`)]),
    ...(events.length === 0 ? [] : ["", "Events:", ...events.map((each) => `  ${each}`)]),
    ...(pod === undefined || tail === 0
      ? []
      : ["", `Last lines:`, ...(await tailOf(engine.cluster, pod, tail, signal))]),
  ];
}

function containerLine(pod: Pod, name: string): string {
  const restarts = pod.status.containerStatuses?.find((each) => each.name === name)?.restartCount ?? 0;
  const facts = containerFacts(pod, name);
  const detail =
    facts.state === "ended" ? `exit code ${facts.exitCode}${facts.reason === "" ? "" : ` (${facts.reason})`}` : "";
  return [name, facts.state, detail, restarts === 0 ? "" : `${restarts} restarts`].filter(Boolean).join("  ");
}

/** Without the right to list events: none. */
async function eventsOf(
  cluster: Cluster,
  namespace: string,
  names: readonly string[],
  signal: AbortSignal,
): Promise<string[]> {
  const timeOf = ({ at }: ClusterEvent) => Date.parse(at ?? "") || 0;
  try {
    const lists = await Promise.all(
      names.map((name) => listEvents(cluster, namespace, `involvedObject.name=${name}`, { signal })),
    );
    return lists
      .flat()
      .sort((a, b) => timeOf(a) - timeOf(b))
      .map((event) => {
        const { type, reason, message, count } = event;
        const times = count > 1 ? ` (${count} times)` : "";
        return `${formatAge(Date.now() - timeOf(event))} ago  ${type}  ${reason}  ${message}${times}`;
      });
  } catch (error) {
    if (isForbidden(error)) return ["(the right to list events is missing)"];
    throw error;
  }
}

/** The end of the first container's log as it is now. */
async function tailOf(cluster: Cluster, pod: Pod, tailLines: number, signal: AbortSignal): Promise<string[]> {
  const { namespace, name: podName } = pod.metadata;
  const container = pod.spec.containers[0]?.name ?? "";
  const now = containerView(pod, container);
  if (now.phase === "waiting" && containerFacts(pod, container).hasStarted !== true) return ["(it has not started)"];
  const source = {
    namespace,
    podName,
    container,
    view: () => now,
    onChange: () => () => undefined,
  };
  const lines: string[] = [];
  try {
    const log = followLogs(cluster, source, { tailLines, signal, follow: false });
    for await (const { text } of log) lines.push(text);
  } catch (error) {
    if (signal.aborted) throw error;
    lines.push(`(its log cannot be read: ${(error as Error).message})`);
  }
  return lines;
}
