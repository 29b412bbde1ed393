import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const root = new URL("../../..", import.meta.url).pathname;

async function run(example: string): Promise<string[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [`${root}examples/${example}`], { timeout: 25_000 });
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
  expect(lines.at(-1)).toBe('result: k8s_config_invalid: timeoutSec: expected a number, got "soon"');
  const notes = lines.filter((line) => line.startsWith("stdout | [paperclip]"));
  expect(notes.length).toBeGreaterThan(3);
  expect(new Set(notes).size, "each change is told once").toBe(notes.length);
});

it("job-runner.ts runs a hundred Jobs and hands over each line once", async () => {
  const lines = await run("job-runner.ts");
  const squares = Array.from({ length: 100 }, (_, index) => `square of ${index + 1}: ${(index + 1) ** 2}`);
  expect(lines.slice(0, -1).sort()).toEqual(squares.sort());
  expect(lines.at(-1)).toBe("100 of 100 succeeded");
});

it("are all run by a test and named in the README", () => {
  const examples = readdirSync(`${root}examples`).sort();
  expect(examples).toEqual(["engine.ts", "job-runner.ts", "own-adapter.ts"]);
  const readme = readFileSync(`${root}README.md`, "utf8");
  for (const example of examples) expect(readme).toContain(`examples/${example}`);
});
