/** Twenty issues of one agent at once: what the host does by default, and what must not end in refused runs and held issues. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { PaperclipWorld } from "./world.ts";

let world: PaperclipWorld;

beforeAll(async () => {
  world = await PaperclipWorld.start();
  await world.installFolder();
});
afterAll(async () => {
  await world?.stop();
});

test.each([{ policy: "parallel" }])(
  "20 issues at once are all done ($policy)",
  async ({ policy }) => {
    const agent = await world.agent(`agent-${policy}`, policy === undefined ? {} : { concurrencyPolicy: policy });
    const issues = await Promise.all(Array.from({ length: 20 }, (_, index) => world.issue(`Done ${index}`, agent)));
    const began = performance.now();
    await Promise.all(issues.map((issue) => world.untilStatus(issue, "done", 60_000))).catch(async (e) => {
    for (const run of await world.runs(agent)) console.log(run.status, run.errorCode, run.error, (await world.log(run)).slice(-300));
    for (const i of issues) { const s = await world.see(i); console.log(s.title, s.status, JSON.stringify(s.executionBlocker)); }
    throw e;
  });
    const runs = await world.runs(agent);
    console.log(`${policy ?? "default"}: ${runs.length} runs in ${Math.round(performance.now() - began)} ms`);
    expect(runs.filter(({ status }) => status !== "succeeded")).toEqual([]);
    expect(runs).toHaveLength(20);
  },
);
