/**
 * `npm run test:paperclip`: installs the real Paperclip server into this folder if it is not there, builds the package, then runs
 * the tests. The server takes 1.5 GB of disk. Arguments are Vitest's: `npm run test:paperclip -- restart` runs one file.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const folder = import.meta.dirname;
const root = join(folder, "../..");

function run(command: string, args: readonly string[], cwd: string): void {
  const { status } = spawnSync(command, args, { cwd, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

const { dependencies } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { dependencies: object };
if (Object.keys(dependencies).some((name) => !existsSync(join(folder, "node_modules", name)))) {
  run("npm", ["install", "--no-package-lock", "--no-audit", "--no-fund"], folder);
}
run("npm", ["run", "--silent", "build"], root);
const vitest = join(root, "node_modules/vitest/vitest.mjs");
run(process.execPath, [vitest, "run", "--config", join(folder, "vitest.config.ts"), ...process.argv.slice(2)], root);
