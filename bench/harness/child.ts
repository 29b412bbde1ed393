import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";

interface Call {
  id: number;
  method: string;
  params: unknown;
}
type Answer = { id: number; result: unknown } | { id: number; error: string };

/** A process of its own for what is measured by itself: heap, CPU, a server that must not share its client's core. */
export class Child {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #nextId = 1;

  constructor(module: URL, { execArgv = [], env = {} }: { execArgv?: string[]; env?: Record<string, string> } = {}) {
    this.#process = fork(fileURLToPath(module), [], {
      execArgv: ["--disable-warning=ExperimentalWarning", ...profiling(), ...execArgv],
      env: { ...process.env, ...env },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      serialization: "advanced",
    });
    this.#process.on("message", (answer: Answer) => {
      const call = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if ("error" in answer) call?.reject(new Error(answer.error));
      else call?.resolve(answer.result);
    });
    this.#process.once("exit", (code, signal) => {
      const error = new Error(`${fileURLToPath(module)} ended with ${signal ?? code}`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
  }

  call<T>(method: string, params: unknown = null): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (!this.#process.connected) return reject(new Error("the child process has ended"));
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#process.send({ id, method, params } satisfies Call);
    });
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    await new Promise<void>((resolve) => {
      this.#process.once("exit", () => resolve());
      // A profile is written at a regular exit only.
      if (process.env.BENCH_CPU_PROF) this.#process.disconnect();
      else this.#process.kill("SIGKILL");
    });
  }
}

/** `BENCH_CPU_PROF=DIR npm run bench …` leaves a CPU profile of each child process there. */
function profiling(): string[] {
  const directory = process.env.BENCH_CPU_PROF;
  return directory ? ["--cpu-prof", `--cpu-prof-dir=${directory}`] : [];
}

/** In the child: answers the parent's calls, each as it comes. */
export function serve(methods: Record<string, (params: never) => unknown>): void {
  const send = (answer: Answer) => process.send?.(answer);
  process.on("message", ({ id, method, params }: Call) => {
    const run = async () => {
      const found = methods[method];
      if (found === undefined) throw new TypeError(`no method ${method}`);
      return await found(params as never);
    };
    run().then(
      (result) => send({ id, result }),
      (error: unknown) => send({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
  });
  process.once("disconnect", () => process.exit());
}

export interface CpuSample {
  cpuMs: number;
  wallMs: number;
}

/** CPU time (user and system, all threads) and wall time from now until the returned function is called. */
export function stopwatch(): () => CpuSample {
  const cpu = process.cpuUsage();
  const at = performance.now();
  return () => {
    const { user, system } = process.cpuUsage(cpu);
    return { cpuMs: (user + system) / 1000, wallMs: performance.now() - at };
  };
}

/** Milliseconds of a clock that all processes of the machine share and nobody sets. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
