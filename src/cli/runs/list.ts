import { printable } from "../../adapter/host/printable.ts";
import { RunEngine } from "../../engine/index.ts";
import { type CommandIo, defineCommand } from "../command.ts";
import { addSelectorOption, addTargetOptions, connect, labelsOf, type TargetOptions } from "../target.ts";
import { formatTable } from "../text-width.ts";
import { byOwner, cellsOf, EXPENDABLE_TITLES, RUN_TITLES, type RunRow, rowOf } from "./run-row.ts";

export interface SelectionOptions extends TargetOptions {
  selector: string;
}

export const listCommand = defineCommand<SelectionOptions & { json: boolean }>({
  name: "list",
  summary: "the runs of a namespace, as they are now",
  configure: (command) =>
    addSelectorOption(addTargetOptions(command)).option("--json", "one JSON object a line", false),
  async action({ json, ...selection }, io) {
    const rows = await withEngine(selection, io, async (engine) => rowsOf(engine));
    if (json) io.stdout.write(rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    else if (rows.length === 0) io.stderr.write(`no runs with ${selection.selector}\n`);
    else io.stdout.write(`${tableOf(rows, io).join("\n")}\n`);
    return 0;
  },
});

export function rowsOf(engine: RunEngine): RunRow[] {
  const pods = byOwner(engine.pods.list());
  const now = Date.now();
  return engine.jobs
    .list()
    .map((job) => rowOf(job, pods.get(job.metadata.uid) ?? [], now))
    .sort((a, b) => a.ageMs - b.ageMs);
}

export function tableOf(rows: readonly RunRow[], { stdout }: CommandIo): string[] {
  const { isTTY, columns } = stdout as NodeJS.WriteStream;
  // A pipe is read by a program: nothing is cut there.
  const width = isTTY ? columns || 80 : Number.POSITIVE_INFINITY;
  return formatTable(
    RUN_TITLES,
    rows.map(cellsOf).map((cells) => cells.map(printable)),
    width,
    EXPENDABLE_TITLES,
  );
}

/** Runs with the two watches of one selection open. @throws ApiError within two seconds where no server answers. */
export async function withEngine<T>(
  { selector, ...target }: SelectionOptions,
  io: CommandIo,
  use: (engine: RunEngine, namespace: string) => Promise<T>,
): Promise<T> {
  const labels = labelsOf(selector);
  const { cluster, kubeConfig, namespace } = await connect(target, io);
  await cluster.close();
  const engine = await RunEngine.start({ kubeConfig, namespace, labels, signal: io.signal });
  try {
    return await use(engine, namespace);
  } finally {
    await engine.stop();
  }
}
