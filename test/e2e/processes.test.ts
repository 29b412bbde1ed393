import { randomUUID } from "node:crypto";
import { expect } from "vitest";
import { execute } from "./support/adapter.ts";
import { FollowingProcess } from "./support/processes.ts";
import { Suite } from "./support/suite.ts";

/** Nothing of a run is lost with the process that follows it. */
const suite = new Suite();
/** Still runs when the first process has started and been killed, on a slow machine too. */
const LONG_SCRIPT = "init; lines 120 0.1; result";
const LONG_LINES = 122;

suite.case(
  "engine: a process is killed mid-run, the next one attaches and has every line and the end",
  async (scene) => {
    const run = await scene.launch({ script: LONG_SCRIPT });
    const uid = run.uid ?? "";
    const task = { do: "follow", context: scene.context, jobName: run.jobName, uid } as const;
    const first = new FollowingProcess(task);
    await first.lines.atLeast(10, scene.signal);
    await first.kill("SIGKILL");
    expect(first.lines.received.length).toBeLessThan(LONG_LINES);
    const second = new FollowingProcess(task);
    expect(await second.end).toMatchObject({ kind: "succeeded", exitCode: 0 });
    second.lines.expectExactlyOnce(LONG_LINES);
    await second.exited;
  },
);

suite.case("engine: a process that attaches after the end still has all of it", async (scene) => {
  const run = await scene.launch({ script: "init; lines 5; exit 4" });
  await run.terminated({ container: "claude", signal: scene.signal });
  const late = new FollowingProcess({ do: "follow", context: scene.context, jobName: run.jobName, uid: run.uid ?? "" });
  expect(await late.end).toMatchObject({ kind: "failed", exitCode: 4 });
  late.lines.expectExactlyOnce(6);
});

for (const signal of ["SIGKILL", "SIGTERM"] as const) {
  suite.case(`adapter: ${signal} mid-run deletes nothing; the task's next run adopts the Job`, async (scene) => {
    const agent = { agentId: randomUUID(), taskId: randomUUID() };
    const first = new FollowingProcess({
      do: "execute",
      context: scene.context,
      run: { ...agent, script: LONG_SCRIPT },
    });
    const job = await first.job;
    scene.watchJob(job);
    await first.lines.atLeast(10, scene.signal);
    await first.kill(signal);
    expect(first.lines.received.length).toBeLessThan(LONG_LINES);
    const second = execute(scene, { ...agent, script: "init; lines 3; result" });
    expect(await second.job).toBe(job);
    expect(await second.result).toMatchObject({ exitCode: 0, sessionId: "5e551011-0000-4000-8000-000000000000" });
    expect(second.events.map(({ eventType }) => eventType)).toContain("k8s.job_adopted");
    second.lines.expectExactlyOnce(LONG_LINES);
  });
}
