/** Twenty issues of one agent at once: by default one works after the other, and each issue is done. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Issue, PaperclipWorld } from "./world.ts";

let world: PaperclipWorld;

beforeAll(async () => {
  world = await PaperclipWorld.start();
  await world.installFolder();
});
afterAll(async () => {
  await world?.stop();
});

test.each([
  { name: "by default", config: {} },
  { name: "in parallel", config: { concurrencyPolicy: "parallel" } },
])("20 issues at once are all done, $name", { timeout: 600_000 }, async ({ name, config }) => {
  const agent = await world.agent(`agent ${name}`, config);
  const issues: Issue[] = [];
  // One after the other: twenty POSTs at the same moment hang this server's connections to its database.
  for (let index = 0; index < 20; index += 1) issues.push(await world.issue(`Done ${index}`, agent));
  await Promise.all(issues.map((issue) => world.untilStatus(issue, "done", 500_000)));
  // The agent reports before it ends: its issue is done while its run still goes on.
  const runs = await world.until("all runs to end", async () => {
    const found = await world.runs(agent);
    return found.every(({ status }) => status !== "queued" && status !== "running") ? found : null;
  });
  expect(runs.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => "succeeded"));
});
