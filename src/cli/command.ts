/** Where a command reads and writes, so that it can be run by a test as by a shell. */
export interface CommandIo {
  stdout: NodeJS.WritableStream;
  stderr: NodeJS.WritableStream;
  /** Aborts on Ctrl-C: finish what is being written and return. */
  signal: AbortSignal;
}

export interface Command {
  summary: string;
  usage: string;
  /** Returns the exit code. @throws UsageError for bad arguments. */
  run(argv: string[], io: CommandIo): Promise<number>;
}

/** Bad arguments: the message names the option, what it got and what to do. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
