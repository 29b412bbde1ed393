/** The server is stopped or killed while an agent works: the Job goes on, and the next run of the issue collects it. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Agent, type Issue, init, PaperclipWorld, report, resulted } from "./world.ts";

let world: PaperclipWorld;

beforeAll(async () => {
  world = await PaperclipWorld.start();
  await world.installFolder();
});
afterAll(async () => {
  await world?.stop();
});

test.each(["SIGTERM", "SIGKILL"] as const)("%s of the server in mid-run", async (signal) => {
  let finish: () => void = () => undefined;
  const mayFinish = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let starts = 0;
  world.programs.set(signal, async function* ({ env }) {
    starts += 1;
    yield init;
    if (starts === 1) await mayFinish;
    await report(env, { status: "done", comment: `Done by start ${starts}.` }).catch(() => undefined);
    yield resulted(`Done by start ${starts}.`);
    return 0;
  });
  const agent: Agent = await world.agent(`agent-${signal}`);
  const issue: Issue = await world.issue(`${signal} me`, agent);
  const run = await world.until("the agent to print", async () => {
    const [first] = await world.runs(agent);
    return first?.status === "running" && (await world.log(first)).includes(init) ? first : null;
  });
  await world.server.kill(signal);
  await world.server.start();
  console.log(signal, (await world.run(run.id)).status, (await world.see(issue)).status);
  finish();
  await world.comment(issue, "Please go on.");
  await world.untilStatus(issue, "done");
  console.log(
    signal,
    starts,
    (await world.runs(agent)).map(({ status, errorCode }) => `${status} ${errorCode}`),
  );
  expect(starts).toBeLessThanOrEqual(2);
});
