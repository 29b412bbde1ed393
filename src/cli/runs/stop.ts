import { reasonOf } from "../../adapter/errors.ts";
import { printable } from "../../adapter/host/printable.ts";
import type { RunEngine } from "../../engine/index.ts";
import { type CommandIo, defineCommand } from "../command.ts";
import { addSelectorOption, addTargetOptions, durationMs } from "../target.ts";
import { type SelectionOptions, withEngine } from "./list.ts";

interface StopOptions extends SelectionOptions {
  timeout: number;
}

export const stopCommand = defineCommand<StopOptions>({
  name: "stop",
  summary: "delete Jobs in the foreground, and wait until their pods are deleted",
  configure: (command) =>
    addSelectorOption(addTargetOptions(command))
      .option("--timeout <duration>", "how long to wait for the pods", durationMs, 120_000)
      .argument("<job...>", "names of Jobs"),
  async action({ timeout, ...selection }, io, names) {
    const isDone = await withEngine(selection, io, (engine, namespace) =>
      Promise.all(names.map((jobName) => stopRun(engine, { namespace, jobName }, timeout, io))),
    );
    return isDone.every(Boolean) ? 0 : 1;
  },
});

async function stopRun(
  engine: RunEngine,
  { namespace, jobName }: { namespace: string; jobName: string },
  timeoutMs: number,
  { stdout, stderr, signal }: CommandIo,
): Promise<boolean> {
  const job = engine.jobs.get(namespace, jobName);
  if (job === undefined) {
    stderr.write(`${jobName}: there is no such run in namespace ${namespace}\n`);
    return false;
  }
  const run = engine.attach({ namespace, jobName, uid: job.metadata.uid });
  try {
    await run.delete({ propagationPolicy: "Foreground", signal });
    await run.gone({ signal, timeoutMs });
    stdout.write(`${jobName}: deleted\n`);
    return true;
  } catch (error) {
    if (signal.aborted) throw error;
    stderr.write(`${jobName}: ${printable(reasonOf(error))}\n`);
    return false;
  }
}
