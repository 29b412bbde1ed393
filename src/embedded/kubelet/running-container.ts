import type { Clock, Timer } from "../clock.ts";
import type { ContainerLog } from "./container-log.ts";
import type { ContainerContext, ProgramOutput, ProgramResult, ScriptedProgram } from "./programs.ts";

export interface ContainerExit {
  exitCode: number;
  reason: string;
  /** Milliseconds by the cluster's clock. */
  finishedAt: number;
}

/** A container that has been started: it ends by itself or by the kubelet. */
export interface RunningContainer {
  /** Never rejects. */
  readonly exit: Promise<ContainerExit>;
  /** SIGTERM; SIGKILL when it still runs after the grace. Called again, it can only shorten the grace. */
  terminate(graceMs: number): void;
  /** SIGKILL, or what the kernel or the node did to it. */
  kill(exitCode?: number, reason?: string): void;
}

/** The end of a container's grace. Set again, it can only come earlier. */
export class KillTimer {
  readonly #clock: Clock;
  readonly #kill: () => void;
  #timer: Timer | null = null;
  #at = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, kill: () => void) {
    this.#clock = clock;
    this.#kill = kill;
  }

  within(graceMs: number): void {
    const at = this.#clock.now() + graceMs;
    if (at >= this.#at) return;
    this.#at = at;
    this.cancel();
    this.#timer = this.#clock.setTimeout(this.#kill, graceMs);
  }

  cancel(): void {
    this.#timer?.cancel();
  }
}

/** What `container.sleep` rejects with once the container has been told to end. */
class ContainerKilledError extends Error {
  override readonly name = "ContainerKilledError";
}

/** Outputs in one go before other work of the process gets its turn: a program need not await anything. */
const outputsInOneGo = 256;

type ContextData = Omit<ContainerContext, "signal" | "onTerminate" | "sleep" | "write" | "now">;

/** Runs a program, feeds its output to the log, and lets it be terminated as a process would be. */
export class ScriptedContainer implements RunningContainer {
  readonly exit: Promise<ContainerExit>;
  readonly #clock: Clock;
  readonly #log: ContainerLog;
  readonly #killed = new AbortController();
  readonly #terminated = new AbortController();
  readonly #onTerminate: (() => ProgramResult)[] = [];
  #resolve: (exit: ContainerExit) => void = () => {};
  #ended = false;
  readonly #killTimer: KillTimer;

  constructor(program: ScriptedProgram, data: ContextData, log: ContainerLog, clock: Clock) {
    this.#clock = clock;
    this.#killTimer = new KillTimer(clock, () => this.kill());
    this.#log = log;
    this.exit = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    void this.#run(program, this.#context(data));
  }

  terminate(graceMs: number): void {
    if (this.#ended) return;
    this.#killTimer.within(graceMs);
    if (this.#terminated.signal.aborted) return;
    this.#terminated.abort(new ContainerKilledError("The container got SIGTERM"));
    for (const listener of this.#onTerminate) {
      try {
        const exitCode = listener();
        if (typeof exitCode === "number") this.#end(exitCode);
      } catch (error) {
        this.#fail(error);
      }
    }
  }

  kill(exitCode = 137, reason?: string): void {
    this.#end(exitCode, reason);
  }

  async #run(program: ScriptedProgram, context: ContainerContext): Promise<void> {
    try {
      // A program starts after its container is on record as running, never in the middle of starting it.
      await Promise.resolve();
      const started = program(context);
      if (!(Symbol.asyncIterator in started)) {
        this.#end(exitCodeOf(await started));
        return;
      }
      this.#killed.signal.addEventListener("abort", () => {
        // Its `finally` blocks run; what comes of it is of no interest any more.
        started.return(undefined).then(ignore, ignore);
      });
      for (let outputs = 1; ; outputs++) {
        const { value, done } = await started.next();
        if (this.#ended) return;
        if (done === true) {
          this.#end(exitCodeOf(value));
          return;
        }
        this.#write(value);
        if (outputs % outputsInOneGo === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #context(data: ContextData): ContainerContext {
    return {
      ...data,
      signal: this.#terminated.signal,
      onTerminate: (listener) => {
        this.#onTerminate.push(listener);
      },
      sleep: (virtualMs, options) =>
        this.#clock.sleep(
          virtualMs,
          options?.interruptible === true
            ? AbortSignal.any([this.#terminated.signal, this.#killed.signal])
            : this.#killed.signal,
        ),
      write: (output) => this.#write(output),
      now: () => this.#clock.now(),
    };
  }

  #write(output: ProgramOutput): void {
    if (this.#ended) return;
    if (typeof output === "string") this.#log.append(`${output}\n`);
    else if (output instanceof Uint8Array) this.#log.append(output);
    else this.#log.append(output.partial === true ? output.text : `${output.text}\n`);
  }

  #fail(error: unknown): void {
    if (this.#ended) return;
    // An interruptible sleep that SIGTERM broke off, and that the program did not catch: the process died of SIGTERM.
    if (this.#terminated.signal.aborted && error instanceof Error && error.name === "AbortError") {
      this.#end(143);
      return;
    }
    this.#log.append(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    this.#end(1);
  }

  #end(exitCode: number, reason?: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#killTimer.cancel();
    this.#log.close();
    this.#resolve({
      exitCode,
      reason: reason ?? (exitCode === 0 ? "Completed" : "Error"),
      finishedAt: this.#clock.now(),
    });
    this.#killed.abort(new ContainerKilledError("The container has ended"));
  }
}

function exitCodeOf(value: unknown): number {
  return typeof value === "number" && Number.isInteger(value) ? value & 0xff : 0;
}

function ignore(): void {}
