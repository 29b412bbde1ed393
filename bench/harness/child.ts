import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";

interface Call {
  id: number;
  method: string;
  params: unknown;
}
type Answer = { id: number; result: unknown } | { id: number; error: string };

/** Nothing that a bench asks of a process takes longer: it is a fault of the bench, and must not hang the others. */
const CALL_TIMEOUT_MS = 5 * 60_000;

/** A process of its own for what is measured by itself: heap, CPU, a server that must not share its client's core. */
export class Child {
  static readonly #alive = new Set<Child>();

  /** Whatever a bench that failed has left behind. */
  static async stopAll(): Promise<void> {
    await Promise.all([...Child.#alive].map((child) => child.stop()));
  }

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
    Child.#alive.add(this);
    this.#process.on("message", (answer: Answer) => {
      const call = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if ("error" in answer) call?.reject(new Error(answer.error));
      else call?.resolve(answer.result);
    });
    this.#process.once("exit", (code, signal) => {
      Child.#alive.delete(this);
      const error = new Error(`${fileURLToPath(module)} ended with ${signal ?? code}`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
  }

  call<T>(method: string, params: unknown = null): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (!this.#process.connected) return reject(new Error("the child process has ended"));
      const id = this.#nextId++;
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`${method} took longer than ${CALL_TIMEOUT_MS / 60_000} minutes`));
      }, CALL_TIMEOUT_MS);
      const settled =
        <V>(settle: (value: V) => void) =>
        (value: V) => {
          clearTimeout(timer);
          settle(value);
        };
      this.#waiting.set(id, { resolve: settled(resolve as (value: unknown) => void), reject: settled(reject) });
      this.#process.send({ id, method, params } satisfies Call, (error) => {
        if (error === null) return;
        this.#waiting.get(id)?.reject(error);
        this.#waiting.delete(id);
      });
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
