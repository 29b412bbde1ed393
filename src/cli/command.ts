import { Command, CommanderError, Help } from "commander";
import { printable } from "../adapter/host/printable.ts";

/** Where a command reads and writes, so that it can be run by a test as by a shell. */
export interface CommandIo {
  stdout: NodeJS.WritableStream;
  stderr: NodeJS.WritableStream;
  /** Aborts on Ctrl-C: finish what is being written and return. */
  signal: AbortSignal;
  /** Keys of a person, for commands that draw. Default: none. */
  stdin?: NodeJS.ReadStream;
  /** How long a server has for its first answer. Default 2 000 ms. */
  answerMs?: number;
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Tells of each trouble once, not again with every try, until it is over or another. */
export function troubleTeller({ stderr }: CommandIo, what: string): (error: Error | null) => void {
  let told: string | null = null;
  return (error) => {
    if (error !== null && error.message !== told) stderr.write(`${what}: ${printable(error.message)}\n`);
    told = error?.message ?? null;
  };
}

/** Bad arguments: the message names the option, what it got and what to do. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

interface Definition<Options> {
  name: string;
  summary: string;
  /** Adds the options and arguments. */
  configure: (command: Command) => Command;
  /** Returns the exit code. @throws UsageError for bad arguments. */
  action: (options: Options, io: CommandIo, args: readonly string[]) => Promise<number>;
}

/** One subcommand of `k8s-run-informer`. */
export interface CliCommand {
  readonly name: string;
  readonly summary: string;
  /** As a part of the program. `finish` gets the exit code. */
  create(io: CommandIo, finish: (exitCode: number) => void): Command;
  /** By itself. Returns the exit code. @throws UsageError for bad arguments; what the command failed with. */
  run(argv: readonly string[], io: CommandIo): Promise<number>;
}

export function defineCommand<Options>({ name, summary, configure, action }: Definition<Options>): CliCommand {
  const create = (io: CommandIo, finish: (exitCode: number) => void) =>
    configure(prepare(new Command(name), io).description(summary)).action(async (...given: unknown[]) => {
      const command = given.at(-1) as Command;
      finish(await action(command.opts<Options & object>(), io, command.args));
    });
  return runnable(name, summary, create);
}

/** A command that only has subcommands, as `runs` has `list` and `stop`. */
export function groupCommand(name: string, summary: string, commands: readonly CliCommand[]): CliCommand {
  const create = (io: CommandIo, finish: (exitCode: number) => void) => {
    const group = prepare(new Command(name), io).description(summary);
    for (const each of commands) group.addCommand(each.create(io, finish));
    return group;
  };
  return runnable(name, summary, create);
}

function runnable(name: string, summary: string, create: CliCommand["create"]): CliCommand {
  return {
    name,
    summary,
    create,
    async run(argv, io) {
      let exitCode = 0;
      await parse(
        create(io, (code) => (exitCode = code)),
        argv,
      );
      return exitCode;
    },
  };
}

/** Nothing of a command writes to the process's own streams or ends the process. */
export function prepare(command: Command, io: CommandIo): Command {
  return command
    .exitOverride()
    .configureHelp({ optionDescription: (option) => withoutEmptyDefault(help.optionDescription(option)) })
    .showSuggestionAfterError()
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: () => undefined,
      getOutHelpWidth: () => (io.stdout as NodeJS.WriteStream).columns ?? 80,
    });
}

const help = new Help();

/** That a switch is off where it is not given goes without saying. */
function withoutEmptyDefault(description: string): string {
  return description.replace(/ \(default: (?:false|\[\]|\{\})\)$/, "");
}

/** @throws UsageError */
export async function parse(command: Command, argv: readonly string[]): Promise<void> {
  try {
    await command.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // The help or the version was asked for and has been written.
    if (error.exitCode === 0) return;
    const [, option, why] =
      /^error: option '.*?(--[\w-]+).*' argument '.*' is invalid\. (.*)$/s.exec(error.message) ?? [];
    throw new UsageError(option === undefined ? error.message.replace(/^error: /, "") : `${option}: ${why}`);
  }
}
