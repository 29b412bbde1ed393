/** A run of the end-to-end suite without tests, as vitest's main process makes and ends it: for `suites.ts`. */
import type { TestProject } from "vitest/node";
import setup from "../../e2e/global-setup.ts";

const project = { provide: () => undefined } as unknown as TestProject;
const end = await setup(project);
console.log("ready");
process.stdin.resume().once("end", async () => {
  await end();
  process.exit(0);
});
