#!/usr/bin/env node
import { printable } from "../adapter/run/printable.ts";
import { type Command, UsageError } from "./command.ts";

/** Loaded on use: `replay` needs neither a cluster nor the adapter. */
const COMMANDS: Record<string, () => Promise<Command>> = {
  demo: async () => (await import("./demo.ts")).demoCommand,
  logs: async () => (await import("./logs-command.ts")).logsCommand,
  record: async () => (await import("./record.ts")).recordCommand,
  replay: async () => (await import("./replay.ts")).replayCommand,
};

process.exitCode = await main(process.argv.slice(2));

async function main([name, ...argv]: string[]): Promise<number> {
  const load = name === undefined ? undefined : COMMANDS[name];
  if (load === undefined || argv.includes("--help")) {
    const isHelp = name === "--help" || name === "help" || argv.includes("--help");
    (isHelp ? process.stdout : process.stderr).write(await usage(load));
    return isHelp ? 0 : 2;
  }
  const interrupt = new AbortController();
  // The second Ctrl-C ends the process as usual.
  process.once("SIGINT", () => interrupt.abort());
  process.once("SIGTERM", () => interrupt.abort());
  // `… | head` closes the pipe: nothing more to do, and no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
  });
  try {
    const command = await load();
    return await command.run(argv, { stdout: process.stdout, stderr: process.stderr, signal: interrupt.signal });
  } catch (error) {
    if (interrupt.signal.aborted && error === interrupt.signal.reason) return 130;
    const isUsage =
      error instanceof UsageError || (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS") === true;
    process.stderr.write(
      `k8s-run-informer ${name}: ${printable(error instanceof Error ? error.message : String(error))}\n`,
    );
    if (isUsage) process.stderr.write(`usage: k8s-run-informer ${(await load()).usage}\n`);
    return isUsage ? 2 : 1;
  }
}

async function usage(load: (() => Promise<Command>) | undefined): Promise<string> {
  const commands = await Promise.all((load === undefined ? Object.values(COMMANDS) : [load]).map((each) => each()));
  return `${commands.map(({ usage, summary }) => `k8s-run-informer ${usage}\n    ${summary}`).join("\n")}\n`;
}
