import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const root = new URL("../../..", import.meta.url).pathname;

async function run(example: string): Promise<string[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [`${root}examples/${example}`], { timeout: 150_000 });
  return stdout.trim().split("\n");
}

it("engine.ts runs one Job to its end, calls one off, and sees one that cannot start", async () => {
  const lines = await run("engine.ts");
  expect(lines.slice(0, 6)).toEqual([
    "short | working on the report",
    "short | done",
    "short succeeded, exit code 0",
    "long | working on forever",
    "long job_deleted",
    "broken image_pull: ErrImagePull",
  ]);
  expect(lines.slice(6).join("")).toMatch(/'watch jobs': 1,.*'watch pods': 1,.*'create jobs': 3,.*'delete jobs': 3/);
});

it("own-adapter.ts hands back what the agent said, and names the key that is wrong", async () => {
  const lines = await run("own-adapter.ts");
  expect(lines).toContain("event | scribe.say reading 6 characters");
  expect(lines).toContain("result: exit code 0, wrote: a poem");
  expect(lines.at(-1)).toBe(
    'result: k8s_config_invalid: timeoutSec: expected a number, got "soon" (k8s_config_invalid)',
  );
  const notes = lines.filter((line) => line.startsWith("stdout | [paperclip]"));
  expect(notes.length).toBeGreaterThan(1);
  expect(new Set(notes).size, "each change is told once").toBe(notes.length);
});

it("job-runner.ts runs a hundred Jobs and hands over each line once", async () => {
  const lines = await run("job-runner.ts");
  const squares = Array.from({ length: 100 }, (_, index) => `square of ${index + 1}: ${(index + 1) ** 2}`);
  expect(lines.slice(0, -1).sort()).toEqual(squares.sort());
  expect(lines.at(-1)).toBe("100 of 100 succeeded");
});

it("opencode-adapter.ts goes on with its session, adds up its costs, and names a failure that the CLI calls a success", async () => {
  const lines = await run("opencode-adapter.ts");
  expect(lines).toContain("event | opencode.tool bash: completed");
  expect(lines.filter((line) => !line.startsWith("event"))).toEqual([
    "first: began, session ses_1, $0.01",
    "second: went on, session ses_1",
    "third: exit code 1, opencode_failed: ProviderModelNotFoundError (opencode_failed)",
  ]);
});

it("sandbox-orchestrator.ts has six functions, and another process finds its sandboxes by their names", async () => {
  const lines = await run("sandbox-orchestrator.ts");
  expect(lines.slice(0, 6)).toEqual([
    "build-1 | running make",
    "build-1 | done",
    "build-1 succeeded, exit code 0",
    "server-1 has its pod",
    "server-1 alive",
    "server-1 deleted",
  ]);
  expect(lines.slice(6).join(""), "status, pod and waiting cost no request").toBe(
    "{ 'watch jobs': 1, 'watch pods': 1, 'delete jobs': 1 }",
  );
});

it("any-informer.ts sees each change of a custom resource, over a watch that broke", async () => {
  const [red, added, ...rest] = await run("any-informer.ts");
  expect([red, added]).toEqual(["red: first", "added second: blue"]);
  expect(rest.slice(0, 2).sort()).toEqual(["deleted second: blue", "updated first: blue"]);
  expect(rest.slice(2)).toEqual(["blue: first", "connected: true, last word less than a minute ago: true"]);
});

it("are all run by a test and named in docs/library.md", () => {
  const examples = readdirSync(`${root}examples`).sort();
  expect(examples).toEqual([
    "any-informer.ts",
    "engine.ts",
    "job-runner.ts",
    "opencode-adapter.ts",
    "own-adapter.ts",
    "sandbox-orchestrator.ts",
    // Run by test/unit/claude/package.test.ts, from the packed tarball.
    "test-without-cluster.test.ts",
  ]);
  const page = readFileSync(`${root}docs/library.md`, "utf8");
  for (const example of examples) expect(page).toContain(`examples/${example}`);
});
