import { Command } from "commander";
import manifest from "../../package.json" with { type: "json" };
import { type CliCommand, type CommandIo, prepare } from "./command.ts";

/** Loaded on use: `replay` needs neither a cluster nor the adapter. */
const COMMANDS: Readonly<Record<string, () => Promise<CliCommand>>> = {
  top: async () => (await import("./top/top-command.ts")).topCommand,
  runs: async () => (await import("./runs/runs-command.ts")).runsCommand,
  logs: async () => (await import("./logs-command.ts")).logsCommand,
  check: async () => (await import("./check.ts")).checkCommand,
  explain: async () => (await import("./explain.ts")).explainCommand,
  rbac: async () => (await import("./rbac.ts")).rbacCommand,
  record: async () => (await import("./record.ts")).recordCommand,
  replay: async () => (await import("./replay.ts")).replayCommand,
  demo: async () => (await import("./demo.ts")).demoCommand,
  completion: async () => (await import("./completion.ts")).completionCommand,
};

/** `k8s-run-informer` with the command that `argv` names; with all of them where it names none. `finish` gets the exit code. */
export async function createProgram(
  argv: readonly string[],
  io: CommandIo,
  finish: (exitCode: number) => void,
): Promise<Command> {
  const [name = ""] = argv;
  const names = Object.hasOwn(COMMANDS, name) ? [name] : Object.keys(COMMANDS);
  const program = prepare(new Command(manifest.name), io)
    .description(manifest.description)
    .version(manifest.version)
    .enablePositionalOptions();
  const commands = await Promise.all(names.map((each) => COMMANDS[each]?.()));
  for (const command of commands) if (command !== undefined) program.addCommand(command.create(io, finish));
  return program;
}
