/** Runs of the end-to-end suite on this machine, each in a process of its own, with stand-ins for `kind` and Docker. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestContext } from "vitest";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import processPrograms from "../../e2e/targets/process-programs.ts";

const SUITE_PROCESS = fileURLToPath(new URL("./suite-process.ts", import.meta.url));
const KIND = fileURLToPath(new URL("./kind-stand-in.sh", import.meta.url));

export class Machine {
  readonly k8s: EmbeddedKubernetes;
  /** Where the suite makes its temporary files. */
  readonly temporary: string;
  /** Containers that Docker was asked to make, as it was asked. */
  readonly containers: Record<string, unknown>[] = [];
  readonly #state: string;
  readonly #env: Record<string, string>;

  readonly #onTestFinished: TestContext["onTestFinished"];

  private constructor(k8s: EmbeddedKubernetes, directory: string, { onTestFinished }: TestContext) {
    this.k8s = k8s;
    this.#onTestFinished = onTestFinished;
    this.temporary = join(directory, "tmp");
    this.#state = join(directory, "state");
    this.#env = {
      PATH: `${join(directory, "bin")}:/usr/bin:/bin`,
      TMPDIR: this.temporary,
      HOME: directory,
      DOCKER_HOST: `unix://${join(directory, "docker.sock")}`,
      E2E_TARGET: "kind",
      E2E_BUSYBOX: join(directory, "busybox"),
      KIND_STATE: this.#state,
      KIND_NODES: "node-1 node-2",
      KIND_NODE_SECONDS: "0",
      KIND_KUBECONFIG: join(directory, "kubeconfig"),
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? "",
    };
  }

  static async create(context: TestContext): Promise<Machine> {
    const { onTestFinished } = context;
    const k8s = await EmbeddedKubernetes.start({ timeScale: 20, programs: processPrograms });
    onTestFinished(() => k8s.stop());
    const directory = await mkdtemp(join(tmpdir(), "suites-"));
    onTestFinished(() => rm(directory, { recursive: true, force: true }));
    const machine = new Machine(k8s, directory, context);
    await k8s.writeKubeconfig(join(directory, "kubeconfig"));
    for (const each of ["bin", "tmp", "state", "state/clusters"]) await mkdir(join(directory, each));
    await copyFile(KIND, join(directory, "bin/kind"));
    await writeFile(join(directory, "bin/docker"), "#!/bin/sh\n");
    await chmod(join(directory, "bin/docker"), 0o755);
    await writeFile(join(directory, "busybox"), staticProgram());
    const engine = dockerEngine(machine.containers);
    engine.listen(join(directory, "docker.sock"));
    await once(engine, "listening");
    onTestFinished(() => void engine.close());
    return machine;
  }

  suite(env: Record<string, string> = {}): SuiteRun {
    const run = new SuiteRun({ ...this.#env, ...env });
    this.#onTestFinished(() => run.kill());
    return run;
  }

  clusters(): Promise<string[]> {
    return readdir(join(this.#state, "clusters"));
  }

  /** What `kind` was called with, one call a line. */
  async calls(): Promise<string[]> {
    return (await readFile(join(this.#state, "calls"), "utf8")).trim().split("\n");
  }

  /** What the suites left in the temporary directory. */
  async leftFiles(): Promise<string[]> {
    const names = await readdir(this.temporary);
    return names.filter((name) => name.startsWith("k8s-run-informer"));
  }

  /** Processes of `kind create` that are to make a node, by their ids. */
  async makers(): Promise<number[]> {
    const text = await readFile(join(this.#state, "makers"), "utf8").catch(() => "");
    return text.split("\n").filter(Boolean).map(Number);
  }

  refuseDeletion(): Promise<void> {
    return writeFile(join(this.#state, "refuse-deletion"), "");
  }

  /** Namespaces of the suite that the cluster has. */
  namespaces(): string[] {
    const all = this.k8s.objects.list("namespaces").map(({ metadata }) => metadata.name);
    return all.filter((name) => name.startsWith("k8s-run-informer-e2e"));
  }
}

export class SuiteRun {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #exit: Promise<number | null>;
  output = "";

  constructor(env: Record<string, string>) {
    this.#child = spawn(process.execPath, [SUITE_PROCESS], { env });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.output += text;
      });
    }
    this.#exit = once(this.#child, "close").then(([code]) => code);
  }

  /** Resolves when the cluster stands and the tests could begin. */
  async ready(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = () => {
      if (/^ready$/m.test(this.output)) resolve();
    };
    this.#child.stdout.on("data", look);
    look();
    const ended = this.#exit.then((code) => {
      throw new Error(`the suite ended with ${code} before it was ready: ${this.output}`);
    });
    await Promise.race([promise, ended]);
  }

  /** As after the last test. Resolves with the exit code. */
  end(): Promise<number | null> {
    this.#child.stdin.end();
    return this.#exit;
  }

  signal(signal: NodeJS.Signals): Promise<number | null> {
    this.#child.kill(signal);
    return this.#exit;
  }

  exit(): Promise<number | null> {
    return this.#exit;
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exit;
  }
}

/** As much of Docker's API as a build of the fixture image asks for. It makes no container, and says so. */
function dockerEngine(containers: Record<string, unknown>[]): Server {
  return createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const path = request.url ?? "";
    response.setHeader("content-type", "application/json");
    if (path.endsWith("/info")) response.end(JSON.stringify({ ServerVersion: "stand-in", OperatingSystem: "Linux" }));
    // Asked for where the tests themselves run in a container.
    else if (path.includes("/networks/"))
      response.end(JSON.stringify({ IPAM: { Config: [{ Gateway: "127.0.0.1" }] } }));
    else if (path.includes("/build")) response.end(`${JSON.stringify({ stream: "built" })}\n`);
    else if (path.includes("/containers/create")) {
      containers.push(JSON.parse(Buffer.concat(chunks).toString()));
      response.writeHead(500).end(JSON.stringify({ message: "no containers here" }));
    } else if (path.includes("/containers/json")) response.end("[]");
    else if (path.includes("/images/")) response.end(JSON.stringify({ Id: "sha256:0" }));
    else response.writeHead(404).end(JSON.stringify({ message: `no ${path}` }));
  });
}

/** The head of a 64-bit ELF file without an interpreter. */
function staticProgram(): Uint8Array {
  const header = Buffer.alloc(64);
  header.write("\x7fELF\x02\x01", "latin1");
  return header;
}
