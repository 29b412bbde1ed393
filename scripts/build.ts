/** `npm run build [-- <directory>]`: everything that is published, into dist/. */
import { execFile } from "node:child_process";
import { chmod, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { commandBuild, metricsServerBuild, moduleBuild, uiParserBuild } from "./bundles.ts";

const root = new URL("..", import.meta.url).pathname;
const outdir = resolve(process.argv[2] ?? `${root}dist`);

await rm(outdir, { recursive: true, force: true });
const [modules, command, metrics] = await Promise.all([
  build(moduleBuild(outdir)),
  build(commandBuild(outdir)),
  build(metricsServerBuild(outdir)),
  // The same file under both names: Node reads `.cjs` as what it is, and `.js` is where hosts of old looked for it.
  build({ ...uiParserBuild(), outfile: `${outdir}/ui-parser.cjs` }),
  build({ ...uiParserBuild(), outfile: `${outdir}/ui-parser.js` }),
  declarations(),
]);
await chmod(`${outdir}/bin.js`, 0o755);

const outputs = { ...modules.metafile?.outputs, ...command.metafile?.outputs, ...metrics.metafile?.outputs };
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
}
