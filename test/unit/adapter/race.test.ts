/** Two server processes that start the same agent at the same moment. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SHARD_VARIABLE } from "../../../src/adapter/start/site.ts";
import { ServerProcess } from "./server-process.ts";
import { adapterOf, NAMESPACE, run, SHARD_RULES, startWorld, type World } from "./world.ts";

let world: World;
let children: ServerProcess[];
let name = "";
let live = 0;
let most = 0;
/** Lets go what was left behind. */
let letGo = () => {};
beforeAll(async () => {
  world = await startWorld({}, SHARD_RULES);
  world.k8s.addProgram("agent", async function* (container) {
    live += 1;
    most = Math.max(most, live);
    if (container.pod.labels["paperclip.io/agent-id"]?.startsWith("left-"))
      await new Promise<void>((resolve) => {
        letGo = resolve;
      });
    else await container.sleep(2_000);
    live -= 1;
    yield '{"done":true,"ok":true}';
  });
});
afterAll(() => world.stop());

const ROUNDS = 12;

function order(round: number, i: number, policy: string) {
  return {
    agentId: `race-${name}-${policy}-${round}`,
    runId: `r-${name}-${policy}-${round}-${i}`,
    taskId: `task-${i}`,
    config: { concurrencyPolicy: policy },
  };
}

describe.each([
  ["that watch all runs", [{}, {}]],
  ["that watch their own shard", [{ [SHARD_VARIABLE]: "server-0" }, { [SHARD_VARIABLE]: "server-1" }]],
])("two servers %s", (title, envs: Record<string, string>[]) => {
  beforeAll(async () => {
    name = title.includes("shard") ? "shard" : "all";
    children = envs.map((env) => new ServerProcess(world, env));
    // Their engines are warm: from here on only the race counts.
    await Promise.all(
      children.map((child, i) => child.run({ agentId: `warm-${name}-${i}`, runId: `warm-${name}-${i}`, taskId: "t" })),
    );
  });
  afterAll(async () => {
    expect(await Promise.all(children.map((child) => child.end()))).toEqual([0, 0]);
  });

  test("block: never two agents at once, and hardly ever none", async () => {
    most = 0;
    let won = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const answers = await Promise.all(children.map((child, i) => child.run(order(round, i, "block"))));
      for (const { errorCode, exitCode } of answers) {
        if (exitCode === 0) won += 1;
        else expect(errorCode).toBe("k8s_concurrent_run_blocked");
      }
      await world.k8s.objects.until(() => world.k8s.objects.list("jobs", NAMESPACE).length === 0);
    }
    expect(most).toBe(1);
    // Who withdraws looks again and is then blocked by the other, unless both were created in one frame of the watch.
    expect(won).toBeGreaterThanOrEqual(ROUNDS - 2);
  });

  test("wait: both run, one after the other", async () => {
    most = 0;
    for (let round = 0; round < 4; round += 1) {
      const answers = await Promise.all(children.map((child, i) => child.run(order(round, i, "wait"))));
      expect(answers.map(({ exitCode }) => exitCode)).toEqual([0, 0]);
    }
    expect(most).toBe(1);
  });

  test("a run that a process left behind is adopted by one of the others", async () => {
    const { adapter } = adapterOf(world);
    for (let round = 0; round < 4; round += 1) {
      const agentId = `left-${name}-${round}`;
      const left = run(world, adapter, { agentId, taskId: "t" });
      await left.logged("agent is running");
      // As when it dies: the Job goes on, and nobody of this process follows it any more.
      left.abort.abort(new Error("Legacy controller lease lost"));
      await left.result;
      const both = children.map((child, i) => {
        const config = { concurrencyPolicy: "block" };
        return child.run({ agentId, runId: `left-${name}-${round}-${i}`, taskId: "t", config });
      });
      // It works on until one of the two is refused: the other follows it then.
      await Promise.race(both);
      letGo();
      const answers = await Promise.all(both);
      const codes = answers.map(({ errorCode, exitCode }) => errorCode ?? exitCode);
      expect(codes.sort()).toEqual([0, "k8s_concurrent_run_blocked"]);
    }
  });
});
