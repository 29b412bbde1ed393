/**
 * `npm run test:package [-- 22 24 26]`: what `npm pack` makes, installed by npm in an empty project, where each example runs as a
 * program of its own and is checked by the compiler. On this Node, or on the majors that are named (npm's package `node` brings them).
 */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = join(import.meta.dirname, "..");
const manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
const versions = manifest.devDependencies as Record<string, string>;
const majors = process.argv.slice(2);
const npm = (cwd: string, ...args: string[]) =>
  run("npm", [...args, "--no-audit", "--no-fund", "--loglevel=error"], { cwd });

const project = await mkdtemp(join(tmpdir(), "try-package-"));
try {
  await npm(root, "pack", "--pack-destination", project);
  const tarball = (await readdir(project)).find((name) => name.endsWith(".tgz")) ?? "";
  await writeFile(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }));
  const tools = ["@paperclipai/adapter-utils", "typescript", "vitest", "@types/node"];
  await npm(project, "install", `./${tarball}`, ...tools.map((name) => `${name}@${versions[name]}`));

  const examples = (await readdir(join(root, "examples"))).filter((name) => name.endsWith(".ts"));
  for (const example of examples) {
    const source = await readFile(join(root, "examples", example), "utf8");
    const program = source.replace(/"\.\.\/src\/(\w+)\/index\.ts"/g, `"${manifest.name}/$1"`);
    if (program.includes('"../')) throw new Error(`examples/${example} imports more than the package`);
    await writeFile(join(project, example), program);
  }
  const tsc = [
    "--module",
    "nodenext",
    "--target",
    "es2024",
    "--strict",
    "--skipLibCheck",
    "--noEmit",
    "--types",
    "node",
  ];
  await run("npx", ["tsc", ...tsc, ...examples], { cwd: project });
  console.log(`compiled ${examples.length} examples against the packed types`);

  for (const node of majors.length > 0 ? await nodes(majors) : [process.execPath]) {
    const { stdout: version } = await run(node, ["--version"]);
    for (const example of examples) {
      const vitest = ["node_modules/vitest/vitest.mjs", "run", example];
      const started = performance.now();
      await run(node, example.endsWith(".test.ts") ? vitest : [example], { cwd: project, timeout: 120_000 });
      console.log(`${version.trim()} ${example} ${((performance.now() - started) / 1000).toFixed(1)} s`);
    }
  }
} finally {
  await rm(project, { recursive: true, force: true });
}

async function nodes(majors: readonly string[]): Promise<string[]> {
  const paths: string[] = [];
  for (const major of majors) {
    const directory = join(project, `node-${major}`);
    await mkdir(directory);
    await writeFile(join(directory, "package.json"), "{}");
    // Newer npms ask before they run the script that puts the binary in its place.
    await npm(directory, "install", `node@${major}`, "--allow-scripts=node").catch(() =>
      npm(directory, "install", `node@${major}`),
    );
    paths.push(join(directory, "node_modules/node/bin/node"));
  }
  return paths;
}
