/** A run outlives its node: the whole adapter, over the wire, with each kind of disruption and at each moment. */
import { describe, expect, test } from "vitest";
import { DISRUPTIONS, evict } from "../disruptions.ts";
import {
  type Agent,
  background,
  InterruptedWorld,
  init,
  printsAndEnds,
  printsAndWorks,
  result,
  SESSION,
  said,
  toolUse,
} from "./interrupted-agent.ts";

const cluster = InterruptedWorld.ofThisFile();
const starts = (agent: Agent) => cluster.world.k8s.objects.until(() => agent.starts.length > 0);
const resumed = `'--resume' '${SESSION}'`;
const goesOn = /The machine that you were running on went away \(\w+\)/;

const works = [init(), said("I look."), toolUse("make")];
const goneOn = [init(), said("I go on."), result("Done.")];

describe("in the middle of its work, it goes on in its session in another pod", () => {
  test.each(Object.entries(DISRUPTIONS))("%s", async (_, [reason, disrupt]) => {
    const agent = cluster.agent(printsAndWorks(...works), printsAndEnds(...goneOn));
    const each = cluster.execute(agent);
    await each.logged('"tool_use"');
    const [first] = cluster.jobs(agent);
    await disrupt(cluster.victim(agent));
    await each.logged(`Created Job paperclip/${first?.metadata.name}-r1`);
    const second = cluster.jobs(agent).find(({ metadata }) => metadata.name.endsWith("-r1"));
    expect(await each.result).toMatchObject({ exitCode: 0, summary: "Done.", sessionId: SESSION, costUsd: 0.5 });

    expect(each.output()).toEqual([...works, ...goneOn]);
    expect(each.notes().filter((note) => note.includes("was ended from outside"))).toEqual([
      expect.stringMatching(
        new RegExp(
          `Job \\S+ was ended from outside on node \\S+ \\(${reason}\\): the run goes on in its session ${SESSION}$`,
        ),
      ),
    ]);
    expect(each.events).toContainEqual(expect.objectContaining({ eventType: "k8s.disrupted" }));
    expect(agent).toMatchObject({
      most: 1,
      starts: [{ prompt: "Do the work." }, { prompt: expect.stringMatching(goesOn) }],
    });
    expect(agent.starts[0]?.command).not.toContain("--resume");
    expect(agent.starts[1]?.command).toContain(resumed);
    if (reason !== "ContainerStatusUnknown") expect(agent.starts[1]?.nodeName).not.toBe(agent.starts[0]?.nodeName);

    const { "paperclip.io/session-id": session, ...labels } = second?.metadata.labels ?? {};
    expect(labels).toEqual(first?.metadata.labels);
    expect(session).toBe(SESSION);
    expect(second?.metadata.uid).not.toBe(first?.metadata.uid);
    await cluster.world.k8s.objects.until(
      () => cluster.jobs(agent).filter(({ metadata }) => metadata.deletionTimestamp === undefined).length === 0,
    );
  });
});

/** As CLI 2.1.332 ends at SIGINT, which an image may have as its STOPSIGNAL; older ones, and wrapper scripts, say nothing. */
const interrupted = {
  ...{ type: "result", subtype: "error_during_execution", is_error: true, num_turns: 2, session_id: SESSION },
  ...{ terminal_reason: "aborted_tools", errors: ["[ede_diagnostic] result_type=user"] },
};

test.each<[string, string[]]>([
  ["with a result", [JSON.stringify(interrupted)]],
  ["without a word", []],
])("told to end, its process ends with 0 in mid-work, %s: it goes on", async (_, last) => {
  const agent = cluster.agent(
    async function* (container, printed) {
      container.onTerminate(() => {
        for (const line of last) container.write(line);
        return 0;
      });
      yield* printsAndWorks(...works)(container, printed);
      return 0;
    },
    printsAndEnds(...goneOn),
  );
  const each = cluster.execute(agent);
  await each.logged('"tool_use"');
  await evict(cluster.victim(agent));
  expect(await each.result).toMatchObject({ exitCode: 0, summary: "Done.", sessionId: SESSION });
  expect(each.output()).toEqual([...works, ...last, ...goneOn]);
  expect(agent.starts[1]?.command).toContain(resumed);
});

const POD_KINDS = Object.entries(DISRUPTIONS).filter(([name]) => !name.startsWith("node re"));

describe("before it has begun, it starts from its prompt", () => {
  const moments: [string, string[]][] = [
    ["before its first line", []],
    ["in its first line", [init()]],
  ];
  test.each(
    moments.flatMap(([moment, lines]) =>
      POD_KINDS.slice(0, 2).map((kind) => [moment, kind[0], lines, kind[1]] as const),
    ),
  )("%s, by %s", async (_, __, lines, [, disrupt]) => {
    const agent = cluster.agent(printsAndWorks(...lines), printsAndEnds(...goneOn));
    const each = cluster.execute(agent);
    await (lines.length > 0 ? each.logged(SESSION) : starts(agent));
    await cluster.world.k8s.objects.until(() => cluster.isRunning(agent));
    await disrupt(cluster.victim(agent));
    expect(await each.result).toMatchObject({ exitCode: 0, summary: "Done." });
    expect(each.output()).toEqual([...lines, ...goneOn]);
    expect(agent.starts.map(({ prompt }) => prompt)).toEqual(["Do the work.", "Do the work."]);
    expect(agent.starts.some(({ command }) => command.includes("--resume"))).toBe(false);
  });

  test("with the session that the host gave it", async () => {
    const agent = cluster.agent(printsAndWorks(init()), printsAndEnds(...goneOn));
    const each = cluster.execute(agent, { sessionId: SESSION });
    await each.logged(SESSION);
    await cluster.world.k8s.objects.until(() => cluster.isRunning(agent));
    await evict(cluster.victim(agent));
    expect(await each.result).toMatchObject({ exitCode: 0, summary: "Done." });
    expect(agent.starts.map(({ prompt }) => prompt)).toEqual(["Do the work.", "Do the work."]);
    expect(agent.starts.every(({ command }) => command.includes(resumed))).toBe(true);
  });
});

describe("between two results it goes on, after the last one it does not", () => {
  const first = [...works, result("Started the tests.", 2)];
  test.each<[string, string[]]>([
    ["while its background work runs", [...works, background("t1"), result("Started the tests.", 2)]],
    ["while the model goes on", [...first, said("The tests have ended.")]],
  ])("%s: turns and costs are summed", async (_, lines) => {
    const agent = cluster.agent(printsAndWorks(...lines), printsAndEnds(...goneOn));
    const each = cluster.execute(agent);
    await each.logged(lines.at(-1) ?? "");
    await evict(cluster.victim(agent));
    const got = await each.result;
    expect(got).toMatchObject({
      exitCode: 0,
      summary: "Done.",
      costUsd: 1,
      usage: { inputTokens: 20, outputTokens: 40 },
    });
    expect(got.resultJson).toMatchObject({ num_turns: 3 });
    expect(each.output()).toEqual([...lines, ...goneOn]);
    expect(agent.starts[1]?.command).toContain(resumed);
  });

  test.each(POD_KINDS.slice(0, 4))("after the result, by %s: nothing is restarted", async (_, [, disrupt]) => {
    const agent = cluster.agent(printsAndWorks(...goneOn));
    const each = cluster.execute(agent, { config: { resultGraceSec: 3600 } });
    await each.logged('"result"');
    await disrupt(cluster.victim(agent));
    expect(await each.result).toMatchObject({ exitCode: 0, summary: "Done.", costUsd: 0.5 });
    expect(agent.starts).toHaveLength(1);
    expect(each.notes().join()).not.toContain("was ended from outside");
  });
});
