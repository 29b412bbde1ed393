import { PROMPT_DIRECTORY, PROMPT_FILE } from "../definition.ts";

/**
 * The container's command: the program with its arguments, and the prompt on its standard input. `exec` puts the program in the
 * shell's place: the container's exit status is the program's own, and SIGTERM reaches it. A shell as process 1 neither dies of it nor
 * passes it on, so that every cancelled run would take the pod's whole grace (tried with Claude Code 2.1.330 as process 1: `exec`
 * ends 43 ms after SIGTERM with 143, `cat … | claude` runs on).
 *
 * @param program its name in the image; put into the shell's line as it stands
 */
export function promptCommand(program: string, args: readonly string[]): string[] {
  const words = [program, ...args.map(shellWord)].join(" ");
  return ["sh", "-c", `exec ${words} < ${PROMPT_DIRECTORY}/${PROMPT_FILE}`];
}

/** As one word of a POSIX shell, whatever it holds. */
export function shellWord(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
