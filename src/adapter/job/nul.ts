import type { Notice, PreparedCommand } from "../definition.ts";

/**
 * A NUL ends a C string: no process can be started with one in its arguments or environment, and the host's database takes none. A
 * configured one is a ConfigError. What the host hands over for one run (a comment, a wake, a file) shows it as U+FFFD, and runs.
 */
export function withoutNul(text: string): string {
  return text.includes("\0") ? text.replaceAll("\0", "\ufffd") : text;
}

/** The command as it may go into a manifest, with a notice if that changed it. */
export function commandWithoutNul(prepared: PreparedCommand): PreparedCommand {
  const files = prepared.files?.map(({ name, content }) => ({ name, content: withoutNul(content) }));
  const command = {
    ...prepared,
    command: prepared.command.map(withoutNul),
    commandArgs: prepared.commandArgs.map(withoutNul),
    prompt: withoutNul(prepared.prompt),
    ...(files === undefined ? {} : { files }),
  };
  const places = [
    ...(command.prompt === prepared.prompt ? [] : ["the prompt"]),
    ...(command.command.some((word, index) => word !== prepared.command[index]) ? ["the command"] : []),
    ...(files ?? [])
      .filter(({ content }, index) => content !== prepared.files?.[index]?.content)
      .map(({ name }) => name),
  ];
  if (places.length === 0) return prepared;
  const notice: Notice = { stream: "stderr", text: `NUL characters are replaced in ${places.join(", ")}` };
  return { ...command, notices: [...(prepared.notices ?? []), notice] };
}
