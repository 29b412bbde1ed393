/** The server is stopped or killed while an agent works: the agent goes on, and its work is reported and not done again. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Agent, type Issue, init, PaperclipWorld, report, resulted, SESSION } from "./world.ts";

let world: PaperclipWorld;

beforeAll(async () => {
  world = await PaperclipWorld.start();
  await world.installFolder();
});
afterAll(async () => {
  await world?.stop();
});

/** An agent at work while the server ends and starts again. */
async function outlive(name: string, signal: "SIGTERM" | "SIGKILL") {
  const mayFinish = Promise.withResolvers<void>();
  const starts: { arguments: string; reported: string }[] = [];
  world.programs.set(name, async function* ({ env, command, args }) {
    const start = { arguments: [...command, ...args].join(" "), reported: "" };
    starts.push(start);
    const nth = starts.length;
    yield init;
    if (nth === 1) await mayFinish.promise;
    start.reported = await report(env, { status: "done", comment: `Done by start ${nth}.` }).then(() => "yes", String);
    yield resulted(`Done by start ${nth}.`);
    return 0;
  });
  const agent: Agent = await world.agent(`agent-${name}`);
  const issue: Issue = await world.issue(`${name} me`, agent);
  await world.untilPrinted(agent, init);
  await world.server.kill(signal);
  await world.server.start();
  return { agent, issue, starts, finish: () => mayFinish.resolve() };
}

/** What each start got for its report. The issue may be done before the agent has the answer. */
function reportsOf(starts: readonly { reported: string }[]): Promise<string[]> {
  return world.until("each start to have reported", async () => {
    const reports = starts.map(({ reported }) => reported);
    return reports.every((each) => each !== "") ? reports : null;
  });
}

const statuses = async (agent: Agent) => (await world.runs(agent)).map(({ status }) => status);

test("SIGTERM, and nobody does anything: the agent finishes and reports, without another run", async () => {
  const { agent, issue, starts, finish } = await outlive("alone", "SIGTERM");
  expect(await world.untilEnded(agent, 1)).toMatchObject({ status: "interrupted" });
  finish();
  await world.untilStatus(issue, "done");
  expect(await reportsOf(starts)).toEqual(["yes"]);
  expect(await statuses(agent)).toEqual(["interrupted"]);
  expect(await world.comments(issue)).toEqual(["Done by start 1."]);
});

test("SIGTERM, and the hold is lifted while the agent works: the new run goes on in its session with a key of its own", async () => {
  const { agent, issue, starts, finish } = await outlive("lifted", "SIGTERM");
  await world.liftHold(await world.untilStatus(issue, "blocked"));
  const second = await world.until("the second run to take the agent over", async () => {
    const run = (await world.runs(agent))[1];
    return run !== undefined && (await world.log(run)).includes("Reattaching to Job") ? run : null;
  });
  finish();
  await world.untilStatus(issue, "done");
  expect((await world.untilEnded(agent, 2)).status).toBe("succeeded");
  expect(await reportsOf(starts)).toEqual([expect.stringContaining("409"), "yes"]);
  expect(starts[1]?.arguments).toContain(`'--resume' '${SESSION}'`);
  expect(await world.log(second)).toContain("its session goes on with a key of this run");
  expect(await statuses(agent)).toEqual(["interrupted", "succeeded"]);
});

test("SIGKILL, and a person comments: the new run takes the agent over and hands out its result", async () => {
  const { agent, issue, starts, finish } = await outlive("killed", "SIGKILL");
  await world.comment(issue, "Please go on.");
  await world.until("the second run to take the agent over", async () => {
    const run = (await world.runs(agent))[1];
    return run !== undefined && (await world.log(run)).includes("Reattaching to Job");
  });
  finish();
  await world.untilStatus(issue, "done");
  expect((await world.untilEnded(agent, 2)).status).toBe("succeeded");
  expect((await reportsOf(starts)).at(-1)).toBe("yes");
  // Where Paperclip takes the former run's key, one start was enough.
  expect(starts.length).toBeLessThanOrEqual(2);
});
