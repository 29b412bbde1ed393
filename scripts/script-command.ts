import { type CliCommand, UsageError } from "../src/cli/command.ts";

/** Runs a script of this repository as a program: a bad argument is one line that names the option, what it got and what to do. */
export async function runScript(command: CliCommand): Promise<void> {
  const { stdout, stderr } = process;
  try {
    process.exitCode = await command.run(process.argv.slice(2), {
      stdout,
      stderr,
      signal: new AbortController().signal,
    });
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    stderr.write(`${error.message}\nSee ${command.name} --help\n`);
    process.exitCode = 2;
  }
}
