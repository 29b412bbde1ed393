/** A server of its own: a child process with the adapter in it, that starts a run each time it is told to. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export interface Order {
  readonly agentId: string;
  readonly runId: string;
  readonly taskId: string;
  readonly prompt?: string;
  readonly config?: Record<string, unknown>;
}

export interface Answer {
  readonly runId: string;
  readonly errorCode: string | null;
  readonly errorMessage: string | null;
  readonly exitCode: number | null;
  readonly sessionId: string | null;
  readonly notes: string;
}

export class ServerProcess {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #waiting = new Map<string, PromiseWithResolvers<Answer>>();
  #errors = "";

  constructor(world: { kubeconfig: string; env: NodeJS.ProcessEnv }, env: Record<string, string> = {}) {
    const script = fileURLToPath(new URL("./race-child.ts", import.meta.url));
    this.#process = spawn(process.execPath, [script, world.kubeconfig, JSON.stringify({ ...world.env, ...env })]);
    this.#process.stderr.on("data", (text) => {
      this.#errors += text;
    });
    createInterface({ input: this.#process.stdout }).on("line", (line) => {
      const answer = JSON.parse(line) as Answer;
      this.#waiting.get(answer.runId)?.resolve(answer);
      this.#waiting.delete(answer.runId);
    });
    this.#process.once("exit", (code, signal) => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`the server ended (${code ?? signal}): ${this.#errors}`));
      this.#waiting.clear();
    });
  }

  run(order: Order): Promise<Answer> {
    const answer = Promise.withResolvers<Answer>();
    // One that is killed while its answer is not waited for.
    answer.promise.catch(() => undefined);
    this.#waiting.set(order.runId, answer);
    this.#process.stdin.write(`${JSON.stringify(order)}\n`);
    return answer.promise;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill(signal);
    await once(this.#process, "exit");
  }

  /** An orderly end. Resolves with the exit code. */
  async end(): Promise<number | null> {
    this.#process.stdin.end();
    const [code] = await once(this.#process, "exit");
    return code as number | null;
  }
}
