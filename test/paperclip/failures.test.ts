/**
 * What the host does with each kind of failure: does it try again by itself, where does it leave the issue, and does a comment of
 * a person start the next run? All kinds at once, since the host takes a minute for its tries.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Failure, failures, inWords } from "./failures.ts";
import { type Agent, doneProgram, type HostRun, type Issue, PACKAGE, PaperclipWorld } from "./world.ts";

/** The host looks after stranded issues so often; an issue that is left alone for two looks is at rest. */
const LOOK_MS = 10_000;

interface Assigned {
  readonly agent: Agent;
  readonly issue: Issue;
}

const world = await PaperclipWorld.start();
const FAILURES = failures(world);
const assigned = new Map<Failure, Assigned>();

beforeAll(async () => {
  await world.installFolder();
  for (const failure of FAILURES) {
    const { name, program, config, runtimeConfig } = failure;
    if (program !== undefined) world.programs.set(name, program);
    const agent = await world.agent(`agent-${name}`, { ...config, ...(await failure.arrange?.()) }, runtimeConfig);
    await failure.before?.(agent);
    assigned.set(failure, { agent, issue: await world.issue(`${name} please`, agent) });
    await failure.act?.(agent);
  }
  await untilAtRest();
}, 600_000);
afterAll(() => world.stop());

async function runsOf({ agent, issue }: Assigned): Promise<HostRun[]> {
  return (await world.runs(agent)).filter(({ contextSnapshot }) => contextSnapshot?.issueId === issue.id);
}

/** The host starts nothing more by itself: it has no event for that, so that all issues are looked at twice. */
async function untilAtRest(): Promise<void> {
  let before = "";
  await world.until(
    "the host to come to rest",
    async () => {
      const states = await Promise.all([...assigned.values()].map(async (each) => (await runsOf(each)).map(stateOf)));
      const now = JSON.stringify(states);
      const isAtRest = now === before && !/queued|running|scheduled_retry/.test(now);
      before = now;
      if (!isAtRest) await delay(2 * LOOK_MS);
      return isAtRest;
    },
    500_000,
  );
}

function stateOf({ id, status }: HostRun): string {
  return `${id} ${status}`;
}

test.each(FAILURES)("$what: $errorCode", async (failure) => {
  const { errorCode, host, heal, name } = failure;
  const { agent, issue } = assigned.get(failure) as Assigned;
  const runs = await runsOf({ agent, issue });
  const before = await world.see(issue);
  const isHeld = before.executionBlocker?.cause === "legacy_execution_requires_reconciliation";
  expect({
    errorCode: runs[0]?.errorCode,
    runs: runs.length,
    status: before.status,
    ...(isHeld ? { isHeld } : {}),
  }).toEqual({ errorCode, ...host });
  await heal?.(agent);
  world.programs.set(name, doneProgram);
  await world.comment(issue, "Please try again.");
  if (isHeld) await world.liftHold(before);
  await world.untilStatus(issue, "done");
});

test("the table in docs/paperclip.md has each of them", async () => {
  const text = await readFile(join(PACKAGE, "docs/paperclip.md"), "utf8");
  const rows = text.split("\n").map((line) => line.replaceAll(/\s+/g, " "));
  const missing = FAILURES.filter(
    ({ what, errorCode, host }) =>
      !rows.some((row) => row.startsWith(`| ${what} | \`${errorCode}\` | ${inWords(host)} |`)),
  );
  expect(missing.map(({ what, errorCode, host }) => `| ${what} | \`${errorCode}\` | ${inWords(host)} |`)).toEqual([]);
});
