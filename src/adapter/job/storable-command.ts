import { storable } from "../../json/read-json.ts";
import type { Notice, PreparedCommand } from "../definition.ts";

/**
 * The command as it may go into a manifest, with a notice if that changed it. A configured text that no process can take is a
 * ConfigError; what the host hands over for one run (a comment, a wake, a file) is changed, and the run goes on.
 */
export function storableCommand(prepared: PreparedCommand): PreparedCommand {
  const files = prepared.files?.map(({ name, content }) => ({ name, content: storable(content) }));
  const command = {
    ...prepared,
    command: prepared.command.map(storable),
    commandArgs: prepared.commandArgs.map(storable),
    prompt: storable(prepared.prompt),
    ...(files === undefined ? {} : { files }),
  };
  const changed = [
    ...(command.prompt === prepared.prompt ? [] : [{ place: "the prompt", text: prepared.prompt }]),
    ...prepared.command
      .filter((word, index) => word !== command.command[index])
      .slice(0, 1)
      .map((text) => ({ place: "the command", text })),
    ...(prepared.files ?? [])
      .filter(({ content }, index) => content !== files?.[index]?.content)
      .map(({ name, content }) => ({ place: name, text: content })),
  ];
  if (changed.length === 0) return prepared;
  const what = changed.some(({ text }) => text.includes("\0")) ? "NUL characters" : "Halves of characters";
  const text = `${what} are replaced in ${changed.map(({ place }) => place).join(", ")}`;
  const notice: Notice = { stream: "stderr", text };
  return { ...command, notices: [...(prepared.notices ?? []), notice] };
}
