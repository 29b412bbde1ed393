import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("./client-go/", import.meta.url));

export interface ClientGo {
  binary: string;
  /** E.g. `client-go v0.20.2, go1.19.8`. */
  name: string;
  remove(): void;
}

/**
 * The typed informer of client-go, built where Go and its modules can be had, or as `CLIENT_GO_PEER` names it: the program of
 * `client-go/main.go`, built before. A string says why there is none.
 */
export function buildClientGo(): ClientGo | string {
  const built = process.env.CLIENT_GO_PEER;
  if (built !== undefined) {
    if (!existsSync(built)) throw new TypeError(`CLIENT_GO_PEER names ${built}, which does not exist`);
    return { binary: built, name: nameOf(built), remove: () => undefined };
  }
  const directory = mkdtempSync(join(tmpdir(), "k8s-run-informer-client-go-"));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  const binary = join(directory, "peer");
  try {
    // Beside a copy of it, so that Go writes its go.sum there, too.
    const modules = join(directory, "go.mod");
    copyFileSync(join(SOURCE, "go.mod"), modules);
    execFileSync("go", ["build", "-mod=mod", "-modfile", modules, "-o", binary, "."], {
      cwd: SOURCE,
      stdio: ["ignore", "ignore", "pipe"],
      encoding: "utf8",
    });
    return { binary, name: nameOf(binary), remove };
  } catch (error) {
    remove();
    const { code, stderr } = error as { code?: unknown; stderr?: string };
    return code === "ENOENT"
      ? "Go is not installed"
      : `go build: ${(stderr ?? String(error)).trim().split("\n").at(-1)}`;
  }
}

function nameOf(binary: string): string {
  return execFileSync(binary, ["--version"], { encoding: "utf8" }).trim();
}

/** Its process; calls are answered as those of `Child`. */
export class GoChild {
  readonly #process: ChildProcess;
  readonly #waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = [];

  constructor({ binary }: ClientGo) {
    this.#process = spawn(binary, { stdio: ["pipe", "pipe", "inherit"] });
    this.#process.once("exit", (code, signal) => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(`${binary} ended with ${signal ?? code}`));
    });
    if (this.#process.stdout === null) return;
    createInterface(this.#process.stdout).on("line", (line) => {
      const { result, error } = JSON.parse(line) as { result: unknown; error?: string };
      const call = this.#waiting.shift();
      if (error === undefined) call?.resolve(result);
      else call?.reject(new Error(error));
    });
  }

  /** Answered in the order of the calls. */
  call<T>(method: string, params: unknown = null): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ resolve: resolve as (value: unknown) => void, reject });
      this.#process.stdin?.write(`${JSON.stringify({ method, params })}\n`);
    });
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    await new Promise<void>((resolve) => {
      this.#process.once("exit", () => resolve());
      this.#process.kill("SIGKILL");
    });
  }
}
