import { spawn } from "node:child_process";
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
  readonly signal?: AbortSignal;
}

/** Runs a command to its end; resolves with its standard output. @throws CommandError */
export async function run(command: string, args: readonly string[], { env, signal }: RunOptions = {}): Promise<string> {
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    ...(signal === undefined ? {} : { signal }),
  });
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
  return await new Promise((resolve, reject) => {
    child.once("error", (error) => reject(new CommandError(named, error.message, output)));
    child.once("close", (code, killedBy) => {
      if (code === 0) resolve(stdout);
      else reject(new CommandError(named, code ?? killedBy ?? "?", output));
    });
  });
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
