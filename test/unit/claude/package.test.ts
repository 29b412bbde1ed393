import { execFile } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const run = promisify(execFile);
const root = new URL("../../..", import.meta.url).pathname;
const packageJson = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const packed: string[] = packageJson.files.filter((name: string) => !name.startsWith("!"));

/** A folder with the packed package and its runtime dependencies in node_modules, as `npm install <tarball>` leaves it. */
let consumer: string;
let installed: string;
let packedBytes: number;

beforeAll(async () => {
  consumer = mkdtempSync(join(tmpdir(), "consumer-"));
  const staging = join(consumer, "staging");
  mkdirSync(staging);
  await run(process.execPath, [join(root, "scripts/build.ts"), join(staging, "dist")]);
  for (const name of ["package.json", "README.md", "LICENSE", ...packed.filter((each) => each !== "dist")]) {
    cpSync(join(root, name), join(staging, name), { recursive: true });
  }
  const npm = ["pack", "--ignore-scripts", "--json", "--pack-destination", consumer];
  await run("npm", npm, { cwd: staging });
  const tarball = readdirSync(consumer).find((name) => name.endsWith(".tgz")) ?? "";
  packedBytes = statSync(join(consumer, tarball)).size;
  await run("tar", ["-xzf", join(consumer, tarball), "-C", consumer]);
  installed = join(consumer, "node_modules", packageJson.name);
  mkdirSync(dirname(installed), { recursive: true });
  cpSync(join(consumer, "package"), installed, { recursive: true });
  // By link: what these depend on is found beside their real place.
  for (const name of [...Object.keys(packageJson.dependencies), "@types/node", "vitest"]) {
    const target = join(consumer, "node_modules", name);
    mkdirSync(dirname(target), { recursive: true });
    symlinkSync(join(root, "node_modules", name), target);
  }
});

afterAll(() => rmSync(consumer, { recursive: true, force: true }));

async function node(script: string): Promise<string> {
  const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", script], {
    cwd: consumer,
    timeout: 150_000,
  });
  return stdout.trim();
}

/** The host's rules: the entry is `exports["."]`, a text or one level of conditions. */
function hostEntry(): string {
  const manifest = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
  const entry = manifest.exports["."];
  return resolve(installed, typeof entry === "string" ? entry : (entry.import ?? entry.default));
}

describe("the host's loader", () => {
  test("the entry gives an adapter: synchronously, without arguments", async () => {
    const module = await import(pathToFileURL(hostEntry()).href);
    const adapter = module.createServerAdapter();
    expect(adapter).not.toBeInstanceOf(Promise);
    expect(adapter).toMatchObject({
      type: "claude_k8s",
      supportsLocalAgentJwt: true,
      supportsInstructionsBundle: true,
      instructionsPathKey: "instructionsFilePath",
      runtimeToolDelivery: "native_mcp",
    });
    for (const name of ["execute", "testEnvironment", "listSkills", "syncSkills", "listModels", "getConfigSchema"]) {
      expect(adapter[name], name).toBeTypeOf("function");
    }
    expect(adapter.models.length).toBeGreaterThan(0);
    expect(await adapter.listModels()).toEqual(adapter.models);
    expect(module).toMatchObject({ type: "claude_k8s", label: "Claude (Kubernetes)" });
    expect(module.models).toEqual(adapter.models);
    expect(module.agentConfigurationDoc).toContain("claude_k8s");
    expect(module.printClaudeStreamEvent).toBeTypeOf("function");
  });

  test("a reload of the entry reloads everything: it imports no file of its own", () => {
    const source = readFileSync(hostEntry(), "utf8");
    // What the host itself looks for before it warns about reloads.
    expect(source).not.toMatch(/(?:from\s*|import\s*\(\s*|require\s*\(\s*)['"]\.\.?\//);
    const imports = [...source.matchAll(/(?:^|;|\n)import\b[^"';()]*?from ?"([^"]+)"/g)].map(([, name]) => name ?? "");
    expect(imports.length).toBeGreaterThan(3);
    const allowed = Object.keys(packageJson.dependencies);
    for (const name of imports) {
      expect(
        name.startsWith("node:") || allowed.some((each) => name === each || name.startsWith(`${each}/`)),
        name,
      ).toBe(true);
    }
  });

  test("importing it, also twice as a reload does, leaves nothing that holds the process", async () => {
    const url = pathToFileURL(hostEntry()).href;
    const script = `
      const first = await import("${url}?t=1");
      const second = await import("${url}?t=2");
      first.createServerAdapter(); second.createServerAdapter();
      const signals = ["SIGTERM", "SIGINT", "SIGHUP"].map((name) => process.listenerCount(name));
      console.log(first.createServerAdapter !== second.createServerAdapter, ...signals);`;
    // A handler of signals would take the host's own shutdown from it, or stop its runs.
    expect(await node(script)).toBe("true 0 0 0");
  });

  test("it serves metrics where the environment says so, once however often it is loaded", async () => {
    const url = pathToFileURL(hostEntry()).href;
    const script = `
      import { createServer } from "node:net";
      const probe = createServer().listen(0, "127.0.0.1", async () => {
        const { port } = probe.address();
        await new Promise((resolve) => probe.close(resolve));
        process.env.K8S_RUN_INFORMER_METRICS_PORT = String(port);
        for (const copy of [1, 2]) (await import("${url}?t=" + copy)).createServerAdapter();
        for (let tries = 0; ; tries += 1) {
          const answer = await fetch("http://127.0.0.1:" + port + "/healthz").catch(() => null);
          if (answer === null && tries < 200) { await new Promise((resolve) => setTimeout(resolve, 20)); continue; }
          console.log(await answer.text());
          break;
        }
      });`;
    expect(await node(script)).toBe("ok");
  });

  test("its UI parser is a file in the package that the browser can evaluate", () => {
    const { exports, paperclip } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
    expect(paperclip.adapterUiParser.split(".")[0]).toBe("1");
    expect(exports["./ui-parser"]).toBeTypeOf("string");
    const source = readFileSync(resolve(installed, exports["./ui-parser"]), "utf8");
    const module = { exports: {} as { parseStdoutLine?: (line: string, ts: string) => unknown } };
    new Function("exports", "module", "self", "globalThis", `"use strict";{${source}\n}`)(module.exports, module);
    expect(module.exports.parseStdoutLine?.("x", "t")).toEqual([{ kind: "stdout", ts: "t", text: "x" }]);
    expect(readFileSync(join(installed, "dist/ui-parser.js"), "utf8").split("//# source")[0]).toBe(
      source.split("//# source")[0],
    );
  });

  test("the bundled helpers are whole: a prompt reads as from the source", async () => {
    // A long text goes on after a backslash at the end of a line.
    const source = readFileSync(hostEntry(), "utf8").replaceAll("\\\n", "");
    const { DEFAULT_PAPERCLIP_AGENT_PROMPT_TEMPLATE: template } = await import(
      "@paperclipai/adapter-utils/server-utils"
    );
    const { CONNECTION_INTENT_AGENT_GUIDANCE: guidance } = await import("@paperclipai/shared");
    expect(template).toContain(guidance);
    expect(guidance.length).toBeGreaterThan(100);
    expect(source).toContain("Execution contract:");
    for (const line of guidance.split("\n").filter((each: string) => each.length > 40)) {
      expect(source.replaceAll('\\"', '"')).toContain(line.slice(0, 40));
    }
  });
});

describe("the package", () => {
  test("every export can be imported, and required", async () => {
    const script = `
      import { createRequire } from "node:module";
      const require = createRequire(import.meta.url);
      const out = {};
      for (const name of ["", "/server", "/adapter", "/engine", "/embedded", "/cli", "/ui-parser"]) {
        const module = await import("${packageJson.name}" + name);
        require("${packageJson.name}" + name);
        out[name] = Object.keys(module).filter((each) => each !== "default" && each !== "module.exports").sort();
      }
      console.log(JSON.stringify(out));`;
    const names = JSON.parse(await node(script));
    expect(names[""]).toEqual(
      ["agentConfigurationDoc", "createServerAdapter", "label", "models", "printClaudeStreamEvent", "type"].sort(),
    );
    expect(names["/server"]).toEqual(["createServerAdapter", "execute", "sessionCodec", "testEnvironment"]);
    expect(names["/cli"]).toEqual(["printClaudeStreamEvent"]);
    expect(names["/ui-parser"]).toEqual(["parseStdoutLine"]);
    expect(names["/adapter"]).toEqual(expect.arrayContaining(["ConfigReader", "createK8sAdapter", "parseBaseConfig"]));
    expect(names["/engine"]).toEqual(expect.arrayContaining(["RunEngine", "ApiError"]));
    expect(names["/embedded"]).toEqual(expect.arrayContaining(["EmbeddedKubernetes"]));
  });

  test("the command runs", async () => {
    const bin = join(installed, packageJson.bin["k8s-run-informer"]);
    expect(statSync(bin).mode & 0o111).toBe(0o111);
    expect(readFileSync(bin, "utf8")).toMatch(/^#!\/usr\/bin\/env node\n/);
    const { stdout } = await run(process.execPath, [bin, "--help"]);
    expect(stdout).toMatch(/^ {2}demo \[options\]/m);
  });

  test("the command says which Node it needs to one that cannot read the rest of it", async () => {
    const bin = join(installed, packageJson.bin["k8s-run-informer"]);
    // Nothing of the package is loaded before the version was looked at.
    const imports = [...readFileSync(bin, "utf8").matchAll(/\bfrom\s*"([^"]+)"/g)].map(([, name]) => name);
    expect(imports).toEqual(["node:module"]);
    const needed = packageJson.engines.node.replace(">=", "");
    const [major, minor] = needed.split(".").map(Number);
    const tooOld = `${major}.${minor - 1}.0`;
    const old = `Object.defineProperty(process.versions, "node", { value: "${tooOld}" });`;
    const preload = join(consumer, "old.mjs");
    writeFileSync(preload, old);
    const failed = await run(process.execPath, ["--import", pathToFileURL(preload).href, bin, "--help"]).then(
      () => null,
      (error: { code: number; stderr: string }) => error,
    );
    expect(failed?.code).toBe(1);
    expect(failed?.stderr).toBe(
      `k8s-run-informer needs Node ${needed} or newer; ${process.execPath} is Node ${tooOld}\n`,
    );
  });

  test("all entries but the root are made of one copy of the code, and one call stops the engines of every copy", async () => {
    // As the host's reload makes one.
    cpSync(installed, join(consumer, "second"), { recursive: true });
    const script = `
      const name = (path) => "${packageJson.name}" + path;
      const engine = await import(name("/engine"));
      const adapter = await import(name("/adapter"));
      const second = await import("${pathToFileURL(join(consumer, "second/dist/engine/index.js")).href}");
      const { EmbeddedKubernetes } = await import(name("/embedded"));
      const k8s = await EmbeddedKubernetes.start();
      const lease = (from) => from.leaseEngine({ kubeConfig: from.loadKubeConfig(k8s.kubeconfig), namespace: "default", labels: { app: "x" } });
      const leases = [await lease(engine), await lease(second)];
      const error = await leases[0].engine.launch({ metadata: { name: "x" }, spec: { template: { spec: { containers: [{ name: "c" }] } } } }).catch((reason) => reason);
      await adapter.stopSharedEngines();
      console.log(engine.stopSharedEngines === adapter.stopSharedEngines, error instanceof engine.ApiError, leases[0].engine !== leases[1].engine);
      console.log(...leases.map(({ engine: each }) => each.isStopped));
      await k8s.stop();`;
    expect(await node(script)).toBe("true true true\ntrue true");
  });

  test.each(readdirSync(join(root, "examples")).filter((name) => name.endsWith(".ts")))(
    "examples/%s runs as a program of the consumer",
    async (example) => {
      const source = readFileSync(join(root, "examples", example), "utf8");
      const program = source.replace(/"\.\.\/src\/(\w+)\/index\.ts"/g, `"${packageJson.name}/$1"`);
      expect(program).not.toContain('"../');
      writeFileSync(join(consumer, example), program);
      const vitest = ["node_modules/vitest/vitest.mjs", "run", "--root", consumer, "--testTimeout", "60000", example];
      const command = example.endsWith(".test.ts") ? vitest : [example];
      // It rejects unless the exit code is 0.
      const { stdout } = await run(process.execPath, command, { cwd: consumer, timeout: 150_000 });
      expect(stdout).not.toBe("");
    },
  );

  test("importing an entry changes no global", async () => {
    const script = `
      const look = () => [globalThis, Reflect, Object.prototype, Array.prototype, Promise.prototype].map((each) => Reflect.ownKeys(each).length).join();
      const before = look();
      for (const each of ["/engine", "/embedded", "/adapter", "/server", "/cli"]) await import("${packageJson.name}" + each);
      console.log(before === look());`;
    expect(await node(script)).toBe("true");
  });

  test("it is packed into less than 700 KB", () => {
    console.log(`packed: ${(packedBytes / 1000).toFixed(0)} KB`);
    expect(packedBytes).toBeLessThan(700_000);
  });

  test("what is installed is small, and nothing of the development is in it", () => {
    expect(statSync(hostEntry()).size).toBeLessThan(800 * 1024);
    const always = ["LICENSE", "README.md", "package.json"];
    expect(readdirSync(installed).sort()).toEqual([...packed, ...always].sort());
    expect(existsSync(join(installed, "deploy", "rbac.yaml"))).toBe(true);
  });

  test("what its README links to is in it", () => {
    const readme = readFileSync(join(installed, "README.md"), "utf8");
    const links = [...readme.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, link = ""]) => link);
    expect(links.length).toBeGreaterThan(10);
    for (const link of links) expect(existsSync(join(installed, link)), link).toBe(true);
  });

  test("its declarations say what a consumer gets", async () => {
    writeFileSync(
      join(consumer, "use.ts"),
      `
      import { createServerAdapter, models, type } from "${packageJson.name}";
      import { sessionCodec } from "${packageJson.name}/server";
      import { RunEngine, type RunEnd, type LogLine } from "${packageJson.name}/engine";
      import { EmbeddedKubernetes } from "${packageJson.name}/embedded";
      import type { AdapterDefinition, AgentVerdict, BaseConfig, RunOutcome } from "${packageJson.name}/adapter";
      import { printClaudeStreamEvent } from "${packageJson.name}/cli";
      import { parseStdoutLine } from "${packageJson.name}/ui-parser";
      import type { V1Job } from "@kubernetes/client-node";
      export async function launch(engine: RunEngine, job: V1Job, signal: AbortSignal | undefined) {
        const run = await engine.launch(job, { signal });
        await run.terminated({ container: "c", signal });
        await run.podReady({ container: "c", signal });
        await run.gone({ signal });
        await run.delete({ signal });
        await run.postMortem({ container: "c", signal });
        run.logs({ container: "c", signal });
        await engine.synced(signal);
        return engine.run(job, { signal });
      }
      type IsAny<T> = 0 extends 1 & T ? true : false;
      const no = <T>(value: IsAny<T>) => value;
      no<RunEngine>(false); no<RunEnd>(false); no<LogLine>(false); no<EmbeddedKubernetes>(false); no<AdapterDefinition<BaseConfig, AgentVerdict>>(false);
      no<RunOutcome<BaseConfig, AgentVerdict>["end"]>(false); no<typeof type>(false); no<typeof parseStdoutLine>(false);
      export async function use(engine: RunEngine): Promise<number | null> {
        const run = engine.attach({ jobName: "x" });
        for await (const line of run.logs({ container: "c" })) no<typeof line.text>(false);
        printClaudeStreamEvent("x", false);
        void createServerAdapter; void models; void sessionCodec;
        // @ts-expect-error: a wrong option is noticed
        engine.attach({ jobNam: "x" });
        return (await run.terminated({ container: "c" })).exitCode;
      }
      `,
    );
    expect(await problemsOf("use.ts")).toBe("");
  });

  test("an adapter's definition without the optional peer is refused with what to install", async () => {
    writeFileSync(
      join(consumer, "adapter.ts"),
      `import { createK8sAdapter } from "${packageJson.name}/adapter";
       createK8sAdapter({ type: "mine" });`,
    );
    expect(await problemsOf("adapter.ts")).toMatch(/"Install @paperclipai\/adapter-utils beside k8s-run-informer: /);
  });

  /** What the compiler says of a file of the consumer. */
  async function problemsOf(file: string): Promise<string> {
    const compilerOptions = {
      module: "nodenext",
      target: "es2024",
      lib: ["es2024", "esnext.disposable"],
      strict: true,
      exactOptionalPropertyTypes: true,
      noEmit: true,
      skipLibCheck: true,
      types: ["node"],
    };
    writeFileSync(join(consumer, "tsconfig.json"), JSON.stringify({ compilerOptions, files: [file] }));
    writeFileSync(join(consumer, "package.json"), '{"type":"module"}');
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    return run(process.execPath, [tsc, "-p", consumer]).then(
      () => "",
      (error: { stdout: string }) => error.stdout,
    );
  }
});
