/**
 * `npm run test:claude`: installs the newest Claude Code CLI and two older minors into this folder if they are not there, then runs
 * the tests against each. `CLAUDE_VERSIONS=newest` runs one of them; other arguments go to vitest.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";

const folder = import.meta.dirname;
const root = join(folder, "../..");
const VERSIONS = ["newest", "2.0", "1.0"];

function run(command: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = process.env): number {
  return spawnSync(command, args, { cwd, stdio: "inherit", env }).status ?? 1;
}

/** A folder for `PATH` whose `claude` is that version. */
function pathOf(version: string): string {
  const installed = join(folder, "node_modules", `claude-${version}`);
  // Current versions put their binary into place in a script that npm may not run unasked.
  const script = join(installed, "install.cjs");
  if (existsSync(script)) run(process.execPath, [script], installed);
  const { bin } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8")) as { bin: { claude: string } };
  const directory = join(folder, "node_modules/.versions", version);
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  symlinkSync(join(installed, bin.claude), join(directory, "claude"));
  return directory;
}

if (!VERSIONS.every((version) => existsSync(join(folder, "node_modules", `claude-${version}`)))) {
  const status = run("npm", ["install", "--no-package-lock", "--no-audit", "--no-fund"], folder);
  if (status !== 0) process.exit(status);
}
const vitest = join(root, "node_modules/vitest/vitest.mjs");
const wanted = process.env.CLAUDE_VERSIONS?.split(",") ?? VERSIONS;
const failed = wanted.filter((version) => {
  console.log(`\nClaude Code, ${version}`);
  const args = [vitest, "run", "--config", join(folder, "vitest.config.ts"), ...process.argv.slice(2)];
  return run(process.execPath, args, root, { ...process.env, CLAUDE_PATH: pathOf(version) }) !== 0;
});
if (failed.length > 0) console.error(`Failed with: ${failed.join(", ")}`);
process.exit(failed.length === 0 ? 0 : 1);
