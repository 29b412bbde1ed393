import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { type BuildOptions, type Plugin, transform } from "esbuild";

const root = new URL("..", import.meta.url).pathname;
const manifest: { dependencies: Record<string, string> } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));

/** The package's root is one whole file: the host's reload evaluates an entry again, not its imports. */
export function rootBuild(outdir: string): BuildOptions {
  return { ...moduleBuild(outdir), entryPoints: [{ in: "src/index.ts", out: "index" }] };
}

/** All other entries share their code, so that each class and each engine is there once; the command loads a part when it needs it. */
export function sharedBuild(outdir: string): BuildOptions {
  return {
    ...moduleBuild(outdir),
    entryPoints: [
      { in: "src/claude/server.ts", out: "server/index" },
      { in: "src/adapter/index.ts", out: "adapter/index" },
      { in: "src/engine/index.ts", out: "engine/index" },
      { in: "src/embedded/index.ts", out: "embedded/index" },
      { in: "src/claude/cli.ts", out: "cli/index" },
      { in: "src/metrics/index.ts", out: "metrics/index" },
      { in: "src/cli/bin.ts", out: "bin" },
    ],
    splitting: true,
    chunkNames: "chunks/[name]-[hash]",
  };
}

/** With its SDK in it: the host installs no optional packages, and the server is loaded only where it is asked for. */
export function metricsServerBuild(outdir: string): BuildOptions {
  return {
    ...moduleBuild(outdir),
    entryPoints: [{ in: "src/metrics/server.ts", out: "metrics/server" }],
    external: [],
    // Its ES modules: of the CommonJS ones nothing that is not used could be left out.
    mainFields: ["module", "main"],
    // The exporter asks for another patch version than ours and would bring it along.
    alias: { "@opentelemetry/sdk-metrics": `${root}node_modules/@opentelemetry/sdk-metrics` },
    plugins: [namedRequires],
    // Nearly all of it is other people's code that no one steps through.
    minify: true,
  };
}

const CONVENTIONS = "@opentelemetry/semantic-conventions";

/** A CommonJS file gets of this package of constants the names that it uses: nothing can be left out of what is required whole. */
const namedRequires: Plugin = {
  name: "named-requires",
  setup(build) {
    build.onResolve({ filter: new RegExp(`^${CONVENTIONS}$`) }, ({ kind, importer, pluginData }) =>
      kind === "require-call" && pluginData !== namedRequires
        ? { path: importer, namespace: namedRequires.name, sideEffects: false }
        : undefined,
    );
    build.onLoad({ filter: /.*/, namespace: namedRequires.name }, ({ path }) => {
      const names = readFileSync(path, "utf8").matchAll(/semantic_conventions_1\.(\w+)/g);
      const used = [...new Set([...names].map(([, name]) => name))];
      if (used.length === 0) throw new Error(`${path} uses no name of ${CONVENTIONS} that could be found`);
      return { contents: `export { ${used.join(", ")} } from "${CONVENTIONS}";`, resolveDir: dirname(path) };
    });
  },
};

function moduleBuild(outdir: string): BuildOptions {
  return {
    absWorkingDir: root,
    outdir,
    bundle: true,
    platform: "node",
    target: "node22.19",
    format: "esm",
    // What npm installs stays outside; everything else (Paperclip's helpers) comes in.
    external: Object.keys({ ...manifest.dependencies, "@opentelemetry/api": "" }).flatMap((name) => [
      name,
      `${name}/*`,
    ]),
    // Packages in CommonJS call `require` for Node's own modules, which an ES module does not have.
    banner: { js: REQUIRE },
    legalComments: "linked",
    metafile: true,
    logLevel: "warning",
    // Names and lines stay, for the stack traces of those who build on it.
    minifyWhitespace: true,
    minifySyntax: true,
    // Shorter lines cost up to 17 KB of the packed package; these are 3 KB less than lines of 1000.
    lineLimit: 4000,
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
    // No one steps through it.
    build.onLoad({ filter: /[\\/]node_modules[\\/]@paperclipai[\\/].*\.js$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, "utf8"), { format: "esm", minify: true });
      return { contents: code, loader: "js" };
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
    minifyWhitespace: true,
    logLevel: "warning",
  };
}
