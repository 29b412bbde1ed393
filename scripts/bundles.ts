import { readFileSync } from "node:fs";
import type { BuildOptions, Plugin } from "esbuild";

const root = new URL("..", import.meta.url).pathname;
const manifest: { dependencies: Record<string, string> } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));

/** Each published ESM file, with the source it is made of. Each is whole: the host's reload evaluates an entry, not its imports. */
export const ENTRIES: Readonly<Record<string, string>> = {
  index: "src/index.ts",
  "server/index": "src/claude/server.ts",
  "adapter/index": "src/adapter/index.ts",
  "engine/index": "src/engine/index.ts",
  "embedded/index": "src/embedded/index.ts",
  "cli/index": "src/claude/cli.ts",
  "metrics/index": "src/metrics/index.ts",
};

/** With its SDK in it: the host installs no optional packages, and the server is loaded only where it is asked for. */
export function metricsServerBuild(outdir: string): BuildOptions {
  return {
    ...moduleBuild(outdir),
    entryPoints: [{ in: "src/metrics/server.ts", out: "metrics/server" }],
    external: [],
  };
}

/** The command loads what a subcommand needs when it is asked for, so it is split. */
export function commandBuild(outdir: string): BuildOptions {
  return {
    ...moduleBuild(outdir),
    entryPoints: [{ in: "src/cli/main.ts", out: "bin" }],
    splitting: true,
    chunkNames: "command/[name]-[hash]",
  };
}

export function moduleBuild(outdir: string): BuildOptions {
  return {
    absWorkingDir: root,
    entryPoints: Object.entries(ENTRIES).map(([out, source]) => ({ in: source, out })),
    outdir,
    bundle: true,
    platform: "node",
    target: "node22.19",
    format: "esm",
    // What npm installs stays outside; everything else (Paperclip's helpers, certificates of the embedded cluster) comes in.
    external: Object.keys({ ...manifest.dependencies, "@opentelemetry/api": "" }).flatMap((name) => [
      name,
      `${name}/*`,
    ]),
    // Packages in CommonJS call `require` for Node's own modules, which an ES module does not have.
    banner: { js: REQUIRE },
    legalComments: "linked",
    metafile: true,
    logLevel: "warning",
    plugins: [shakeHostPackages],
  };
}

const REQUIRE = [
  'import { createRequire as __createRequire } from "node:module";',
  "const require = __createRequire(import.meta.url);",
].join("\n");

/**
 * Of the host's helpers a few functions and texts are used. Their packages do not say that importing them has no effect (it has
 * none: they define constants and schemas), so that without this 1.4 MB of schemas would be shipped and evaluated.
 */
const shakeHostPackages: Plugin = {
  name: "shake-host-packages",
  setup(build) {
    build.onResolve({ filter: /.*/ }, async ({ path, importer, resolveDir, kind, pluginData }) => {
      const isOfHost =
        /[\\/]node_modules[\\/](?:@paperclipai|zod)[\\/]/.test(importer) || /^(?:@paperclipai\/|zod$)/.test(path);
      if (pluginData === shakeHostPackages || !isOfHost) return undefined;
      const resolved = await build.resolve(path, { importer, resolveDir, kind, pluginData: shakeHostPackages });
      return resolved.errors.length > 0 || resolved.external ? resolved : { ...resolved, sideEffects: false };
    });
  },
};

/** The parser that the host's browser evaluates: CommonJS, for any engine of the last years. */
export function uiParserBuild(): BuildOptions {
  return {
    absWorkingDir: root,
    entryPoints: ["src/claude/ui-parser.ts"],
    bundle: true,
    // For the note at the end by which Node's `import` knows the names that a CommonJS file exports.
    platform: "node",
    target: "es2020",
    format: "cjs",
    logLevel: "warning",
  };
}
