import { type ChildProcess, fork, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const MAIN = fileURLToPath(new URL("../../../src/embedded/main.ts", import.meta.url));
const INDEX = new URL("../../../src/embedded/index.ts", import.meta.url).href;

describe("in a process of its own", () => {
  let directory: string;
  let child: ChildProcess | undefined;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "embedded-process-"));
  });
  afterEach(async () => {
    if (child?.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await rm(directory, { recursive: true, force: true });
  });

  function exit(process: ChildProcess): Promise<number | null> {
    return new Promise((resolve) => process.once("exit", resolve));
  }

  it("is ready with one line of JSON, takes commands as lines, ends with its stdin", async () => {
    const programs = join(directory, "programs.mjs");
    await writeFile(programs, "export default { claude: async function* () { yield 'hi'; } };\n");
    const kubeconfig = join(directory, "kubeconfig");
    const args = [MAIN, "--port", "0", "--kubeconfig", kubeconfig, "--time-scale", "10", "--programs", programs];
    child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
    const { stdin, stdout } = child;
    if (stdin === null || stdout === null) throw new Error("no pipes");
    const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
    const next = async () => JSON.parse((await lines.next()).value as string);
    const ready = await next();
    expect(ready).toMatchObject({ ready: true, pid: child.pid });
    expect(JSON.parse(await readFile(kubeconfig, "utf8")).clusters[0].cluster.server).toBe(ready.url);

    const command = async (method: string, ...params: unknown[]) => {
      stdin.write(`${JSON.stringify({ id: method, method, args: params })}\n`);
      return next();
    };
    expect(await command("faults.cutWatches", { how: "reset" })).toEqual({ id: "faults.cutWatches", result: 0 });
    const { result } = await command("faults.errorRate", { status: 503 });
    expect(await command("remove", result.handle)).toEqual({ id: "remove", result: true });
    expect((await command("restart", { downMs: 10 })).error).toBeUndefined();
    expect((await command("requests")).result.total).toBe(0);
    expect((await command("nodes.names")).result).toEqual(["embedded-node"]);
    expect((await command("faults.errorRate", { rate: 7 })).error).toMatch(/between 0 and 1/);
    expect((await command("no.such")).error).toMatch(/unknown command "no.such"/);
    stdin.write("no json\n");
    expect((await next()).error).toMatch(/must be a line of JSON/);

    const ended = exit(child);
    stdin.end();
    expect(await ended).toBe(0);
  });

  it("takes commands as IPC messages, and ends with its parent's channel", async () => {
    child = fork(MAIN, ["--port", "0"], { silent: true });
    const message = () => new Promise<Record<string, unknown>>((resolve) => child?.once("message", resolve as never));
    expect(await message()).toMatchObject({ ready: true });
    child.send({ id: 1, method: "counts", args: [] });
    expect(await message()).toMatchObject({ id: 1, result: { jobs: 0, watches: 0 } });
    const ended = exit(child);
    child.disconnect();
    expect(await ended).toBe(0);
  });

  it("says what is wrong with an option", async () => {
    child = spawn(process.execPath, [MAIN, "--port", "x"], { stdio: ["ignore", "ignore", "pipe"] });
    let text = "";
    child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    expect(await exit(child)).toBe(1);
    expect(text).toBe('--port must be a number, got "x"\n');
  });

  it("stop leaves nothing in the process: with open watches, logs and running programs, it ends by itself", async () => {
    const script = join(directory, "script.mjs");
    await writeFile(
      script,
      `import { connect } from "node:http2";
       import { EmbeddedKubernetes } from ${JSON.stringify(INDEX)};
       const k8s = await EmbeddedKubernetes.start({ delays: "fast" });
       k8s.addProgram("*", async function* (c) { yield "x"; await c.sleep(1e9); });
       k8s.objects.create("pods", { metadata: { name: "p", namespace: "default" }, spec: { containers: [{ name: "c", image: "i" }] } });
       await k8s.objects.until(() => k8s.objects.get("pods", "default", "p").status.phase === "Running");
       const token = k8s.addUser({ name: "a", groups: ["system:masters"] });
       const session = connect(k8s.url, { ca: k8s.ca });
       session.on("error", () => {});
       for (const path of ["/api/v1/pods?watch=1", "/api/v1/namespaces/default/pods/p/log?follow=true"]) {
         const stream = session.request({ ":path": path, authorization: "Bearer " + token });
         stream.on("error", () => {});
         await new Promise((resolve) => stream.once("response", resolve));
       }
       k8s.faults.cutWatchesEvery(1e6);
       k8s.faults.stallWatches(1e6);
       void k8s.restart({ downMs: 1e6, mode: "graceful" });
       await k8s.stop();
       console.log("stopped");`,
    );
    child = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    expect(await exit(child)).toBe(0);
    expect(text).toBe("stopped\n");
  });
});
