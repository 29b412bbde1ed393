import { text } from "node:stream/consumers";
import { loadKubeConfig, RunEngine, stopSharedEngines } from "../../../src/engine/index.ts";
import { RUN_LABEL } from "../context.ts";
import { startExecution } from "./adapter.ts";
import { CONTAINER } from "./jobs.ts";
import type { Message, Task } from "./processes.ts";

/** Started by `FollowingProcess`: does the one task that standard input says. */

function tell(message: Message): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

async function main(task: Task): Promise<void> {
  const { context } = task;
  if (task.do === "execute") {
    const execution = startExecution(context, task.run, (line) => tell({ line }));
    execution.job.then(
      (job) => tell({ job }),
      () => {},
    );
    const result = await execution.result;
    for (const { eventType } of execution.events) tell({ event: eventType });
    tell({ result });
    await stopSharedEngines();
    return;
  }
  const engine = await RunEngine.start({
    kubeConfig: loadKubeConfig(context.kubeconfig),
    namespace: context.namespace,
    labels: { [RUN_LABEL]: context.suiteRun },
  });
  const run = engine.attach({ namespace: context.namespace, jobName: task.jobName, uid: task.uid });
  for await (const line of run.logs({ container: CONTAINER })) tell({ line: line.text });
  tell({ end: await run.terminated({ container: CONTAINER }) });
  await engine.stop();
}

await main(JSON.parse(await text(process.stdin)) as Task);
