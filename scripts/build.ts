/** `npm run build [-- <directory>]`: everything that is published, into dist/. */
import { execFile } from "node:child_process";
import { chmod, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, relative, resolve } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { metricsServerBuild, rootBuild, sharedBuild, uiParserBuild } from "./bundles.ts";

const root = new URL("..", import.meta.url).pathname;
const outdir = resolve(process.argv[2] ?? `${root}dist`);

await rm(outdir, { recursive: true, force: true });
const [rootEntry, shared, metrics] = await Promise.all([
  build(rootBuild(outdir)),
  build(sharedBuild(outdir)),
  build(metricsServerBuild(outdir)),
  // The same file under both names: Node reads `.cjs` as what it is, and `.js` is where older hosts look for it.
  build({ ...uiParserBuild(), outfile: `${outdir}/ui-parser.cjs` }),
  build({ ...uiParserBuild(), outfile: `${outdir}/ui-parser.js` }),
  declarations(),
]);
await chmod(`${outdir}/bin.js`, 0o755);
// Beside the CommonJS file, as TypeScript looks for it; from there an ES module's types are asked for by name.
await writeFile(
  `${outdir}/ui-parser.d.cts`,
  `type Module = typeof import("./types/claude/ui-parser.d.ts", { with: { "resolution-mode": "import" } });
export declare const parseStdoutLine: Module["parseStdoutLine"];
`,
);

const outputs = { ...rootEntry.metafile?.outputs, ...shared.metafile?.outputs, ...metrics.metafile?.outputs };
for (const [path, { bytes }] of Object.entries(outputs)) {
  if (path.endsWith(".js")) console.log(`${path.padEnd(40)} ${(bytes / 1024).toFixed(0).padStart(5)} KiB`);
}

/** The compiler is run as a program: version 7 has no programming interface. */
async function declarations(): Promise<void> {
  const tsc = `${root}node_modules/typescript/bin/tsc`;
  try {
    await promisify(execFile)(process.execPath, [
      tsc,
      "--project",
      `${root}tsconfig.build.json`,
      "--outDir",
      `${outdir}/types`,
    ]);
  } catch (error) {
    throw new Error(`tsc: ${(error as { stdout?: string }).stdout ?? error}`);
  }
  await deleteUnreachable(`${outdir}/types`);
}

/** The compiler declares every file of the program; half of them stand in no public type. */
async function deleteUnreachable(types: string): Promise<void> {
  const { files }: { files: string[] } = JSON.parse(await readFile(`${root}tsconfig.build.json`, "utf8"));
  const pending = files.map((file) => resolve(types, relative("src", file).replace(/\.ts$/, ".d.ts")));
  const reached = new Set<string>();
  for (let file = pending.pop(); file !== undefined; file = pending.pop()) {
    if (reached.has(file)) continue;
    reached.add(file);
    for (const [, path = ""] of (await readFile(file, "utf8")).matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)\.ts"/g)) {
      pending.push(resolve(dirname(file), `${path}.d.ts`));
    }
  }
  for (const name of await readdir(types, { recursive: true })) {
    const file = resolve(types, name);
    if (name.endsWith(".d.ts") && !reached.has(file)) await rm(file);
  }
}
