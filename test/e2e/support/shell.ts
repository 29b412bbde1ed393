import { type ChildProcess, spawn } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";

/** A command that failed, with the end of what it said. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly output: string;
  constructor(command: string, code: number | string, output: string) {
    super(`${command}: ended with ${code}: ${output.trim().slice(-4_000)}`);
    this.output = output;
  }
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Ends the command and all that it has started; the promise settles when they have ended. */
  readonly signal?: AbortSignal;
}

/**
 * Runs a command to its end; resolves with its standard output.
 * @throws CommandError, or the signal's reason
 */
export async function run(command: string, args: readonly string[], { env, signal }: RunOptions = {}): Promise<string> {
  signal?.throwIfAborted();
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    // `kind` works through children of its own, which outlive it unless the whole group is ended.
    detached: signal !== undefined,
  });
  const end = () => endGroup(child);
  signal?.addEventListener("abort", end);
  let stdout = "";
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const named = [command, ...args].join(" ");
  try {
    return await new Promise((resolve, reject) => {
      child.once("error", (error) => reject(new CommandError(named, error.message, output)));
      child.once("close", (code, killedBy) => {
        if (signal?.aborted) reject(signal.reason);
        else if (code === 0) resolve(stdout);
        else reject(new CommandError(named, code ?? killedBy ?? "?", output));
      });
    });
  } finally {
    signal?.removeEventListener("abort", end);
  }
}

const KILL_AFTER_MS = 10_000;

/** Ends a process that was started detached, and its children: with SIGTERM, and with SIGKILL where that is not enough. */
function endGroup(child: ChildProcess): void {
  const send = (signal: NodeJS.Signals) => {
    try {
      // Without a pid it was never started, and 0 would be our own group.
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  };
  send("SIGTERM");
  const timer = setTimeout(send, KILL_AFTER_MS, "SIGKILL");
  child.once("close", () => clearTimeout(timer));
}

export async function isOnPath(command: string): Promise<boolean> {
  for (const directory of (process.env.PATH ?? "").split(delimiter)) {
    const found = await access(join(directory, command), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return true;
  }
  return false;
}
