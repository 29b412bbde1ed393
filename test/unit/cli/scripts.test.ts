/** The repository's own commands: help, and a bad argument that is one line and no stack. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../../..");
const run = (script: string, ...args: string[]) => promisify(execFile)(process.execPath, [join(root, script), ...args]);

test.each([
  ["bench/run.ts", "npm run bench --", ["latncy"], "there is no bench latncy; there are: requests, latency"],
  ["test/soak/main.ts", "npm run soak --", ["--minutes", "soon"], '--minutes: got "soon"; give a number above 0'],
  ["test/soak/main.ts", "npm run soak --", ["--image", "x"], "--image goes with --kubeconfig"],
  ["test/mutation/main.ts", "npm run mutate --", ["nope"], "no file of test/mutation/subjects.ts contains nope"],
])("%s (%s) %j", async (script, name, args, message) => {
  expect((await run(script, "--help")).stdout).toContain(`Usage: ${name} [`);
  const stderr = expect.stringMatching(new RegExp(`^${message}.*\nSee ${name} --help\n$`));
  await expect(run(script, ...args)).rejects.toMatchObject({ code: 2, stderr });
  const unknown = { code: 2, stderr: `unknown option '--no-such'\nSee ${name} --help\n` };
  await expect(run(script, "--no-such")).rejects.toMatchObject(unknown);
});
