import { Argument, type Command } from "commander";
import { defineCommand } from "./command.ts";
import { createProgram } from "./program.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

export const completionCommand = defineCommand<object>({
  name: "completion",
  summary: "print a completion script, e.g. for bash: source <(k8s-run-informer completion bash)",
  configure: (command) => command.addArgument(new Argument("<shell>").choices(SHELLS)),
  async action(_, io, [shell]) {
    const program = await createProgram([], io, () => undefined);
    io.stdout.write(SCRIPTS[shell as Shell](program.name(), pathsOf(program)));
    return 0;
  },
});

/** A command as it is typed (`""`, `runs`, `runs stop`), and what may follow it. */
interface Path {
  typed: string;
  words: readonly string[];
}

function pathsOf(command: Command, typed = ""): Path[] {
  const options = command.options.flatMap(({ long, short }) => [long, short]).filter((each) => each != null);
  const names = command.commands.map((each) => each.name());
  const own = { typed, words: [...names, ...options, "--help"] };
  return [own, ...command.commands.flatMap((each) => pathsOf(each, `${typed} ${each.name()}`.trim()))];
}

/** Two words at most are looked at: no command is nested deeper. */
const SCRIPTS: Readonly<Record<Shell, (name: string, paths: readonly Path[]) => string>> = {
  bash: (name, paths) => `${bashFunction(name, paths)}complete -o default -F ${functionOf(name)} ${name}\n`,
  zsh: (name, paths) =>
    `autoload -U +X bashcompinit && bashcompinit\n${bashFunction(name, paths)}complete -o default -F ${functionOf(name)} ${name}\n`,
  fish: (name, paths) =>
    paths
      .map(({ typed, words }) => {
        const condition =
          typed === "" ? "__fish_use_subcommand" : `__fish_seen_subcommand_from ${typed.split(" ").at(-1)}`;
        return `complete -c ${name} -n '${condition}' -f -a '${words.join(" ")}'\n`;
      })
      .join(""),
};

function bashFunction(name: string, paths: readonly Path[]): string {
  const cases = paths.map(({ typed, words }) => `    "${typed}") words="${words.join(" ")}" ;;`);
  return `${functionOf(name)}() {
  local words="" first="\${COMP_WORDS[1]}" second="\${COMP_WORDS[2]}" typed=""
  [ "$COMP_CWORD" -gt 1 ] && typed="$first"
  [ "$COMP_CWORD" -gt 2 ] && [ -n "$second" ] && typed="$first $second"
  case "$typed" in
${cases.join("\n")}
    *) case "$first" in
${paths
  .filter(({ typed }) => typed !== "" && !typed.includes(" "))
  .map(({ typed, words }) => `      "${typed}") words="${words.join(" ")}" ;;`)
  .join("\n")}
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
`;
}

function functionOf(name: string): string {
  return `_${name.replaceAll("-", "_")}`;
}
