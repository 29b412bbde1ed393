/**
 * The few shell commands that init containers of agents consist of – put a prompt or a copy of a file where the main
 * container finds it – as a scripted program, so that a cluster of thousands of pods needs no process for them.
 */
import { posix } from "node:path";
import type { ContainerContext, ScriptedProgram } from "./programs.ts";

interface Redirect {
  to: string;
  append: boolean;
}

interface Command {
  words: string[];
  redirect: Redirect | null;
  /** How it hangs together with the command before it. */
  after: ";" | "&&" | "||";
}

const builtins = new Set([
  "cat",
  "chmod",
  "chown",
  "cp",
  "echo",
  "exit",
  "false",
  "mkdir",
  "printf",
  "set",
  "sleep",
  "true",
  ":",
]);

/** A program for `["sh", "-c", script]`, or undefined where the script has more to it than this understands. */
export function shellProgram(argv: readonly string[]): ScriptedProgram | undefined {
  const [shell = "", flag = "", script] = argv;
  if (!/(?:^|\/)(?:ba|da|a)?sh$/.test(shell) || !/^-e?c$/.test(flag) || script === undefined) return undefined;
  const commands = parse(script);
  if (commands === undefined) return undefined;
  return (container) => interpret(commands, container);
}

async function* interpret(
  commands: readonly Command[],
  container: ContainerContext,
): AsyncGenerator<string | { text: string; partial: true }, number, undefined> {
  let code = 0;
  let exitOnError = false;
  for (const [index, { words, redirect, after }] of commands.entries()) {
    if ((after === "&&" && code !== 0) || (after === "||" && code === 0)) continue;
    const [name = "", ...args] = words.map((word) => substitute(word, container.env));
    if (name === "exit") return Number(args[0] ?? code) & 0xff;
    if (name === "sleep") await container.sleep(Number.parseFloat(args[0] ?? "0") * 1000);
    if (name === "set") exitOnError ||= args.some((arg) => /^-[a-z]*e/.test(arg));
    const result = run(name, args, container);
    code = result.code;
    if (redirect !== null && redirect.to !== "&2") {
      const path = substitute(redirect.to, container.env);
      if (redirect.append) container.files.append(path, result.output);
      else container.files.write(path, result.output);
    } else if (result.output.length > 0) {
      yield { text: result.output.toString("utf8"), partial: true };
    }
    if (result.error !== undefined) yield result.error;
    const next = commands[index + 1]?.after;
    if (code !== 0 && exitOnError && next !== "||" && next !== "&&") return code;
  }
  return code;
}

interface Result {
  code: number;
  output: Buffer;
  error?: string;
}

function run(name: string, args: readonly string[], { files }: ContainerContext): Result {
  const done = (output: string | Buffer = ""): Result => ({ code: 0, output: Buffer.from(output) });
  switch (name) {
    case "echo":
      return args[0] === "-n" ? done(args.slice(1).join(" ")) : done(`${args.join(" ")}\n`);
    case "printf":
      return done(format(args));
    case "false":
      return { code: 1, output: Buffer.alloc(0) };
    case "cat": {
      const contents: Buffer[] = [];
      for (const path of args) {
        const content = files.read(path);
        if (content === undefined) return missing("cat", path, Buffer.concat(contents));
        contents.push(content);
      }
      return done(Buffer.concat(contents));
    }
    case "cp": {
      const [from = "", to = ""] = args.filter((arg) => !arg.startsWith("-"));
      const content = files.read(from);
      if (content === undefined) return missing("cp", from, Buffer.alloc(0));
      const intoDirectory = to.endsWith("/") || files.mounts.some(({ mountPath }) => mountPath === to);
      files.write(intoDirectory ? posix.join(to, posix.basename(from)) : to, content);
      return done();
    }
    default:
      return done();
  }
}

function missing(command: string, path: string, output: Buffer): Result {
  const problem = command === "cp" ? "can't stat" : "can't open";
  return { code: 1, output, error: `${command}: ${problem} '${path}': No such file or directory` };
}

/** `printf` with `%s`, `%b`, `%d`, `%%` and the usual escapes; the format is used again while arguments are left. */
function format([template = "", ...args]: readonly string[]): string {
  const left = [...args];
  let output = "";
  do {
    output += unescaped(template).replace(/%([sbd%])/g, (_match, kind: string) => {
      if (kind === "%") return "%";
      const value = left.shift() ?? (kind === "d" ? "0" : "");
      return kind === "b" ? unescaped(value) : value;
    });
  } while (left.length > 0 && /%[sbd]/.test(template));
  return output;
}

function unescaped(text: string): string {
  return text.replace(/\\([nrt\\])/g, (_match, letter: string) => ({ n: "\n", r: "\r", t: "\t" })[letter] ?? "\\");
}

/** Placeholder of a quoted dollar sign, which a shell leaves alone. */
const literalDollar = "\u0000";

function substitute(word: string, env: Readonly<Record<string, string>>): string {
  return word
    .replace(/\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))/g, (_match, braced?: string, plain?: string) => {
      return env[braced ?? plain ?? ""] ?? "";
    })
    .replaceAll(literalDollar, "$");
}

function parse(script: string): Command[] | undefined {
  const tokens = tokenize(script);
  if (tokens === undefined) return undefined;
  const commands: Command[] = [];
  let current: Command = { words: [], redirect: null, after: ";" };
  const finish = (after: Command["after"]): boolean => {
    const [name] = current.words;
    if (name !== undefined) {
      if (!builtins.has(name)) return false;
      commands.push(current);
    }
    current = { words: [], redirect: null, after };
    return true;
  };
  for (let index = 0; index < tokens.length; index++) {
    const token = tokens[index] as Token;
    if (!token.operator) current.words.push(token.text);
    else if (token.text === ">" || token.text === ">>") {
      const target = tokens[++index];
      if (target === undefined || target.operator) return undefined;
      current.redirect = { to: target.text, append: token.text === ">>" };
    } else if (!finish(token.text as Command["after"])) return undefined;
  }
  return finish(";") ? commands : undefined;
}

interface Token {
  text: string;
  operator: boolean;
}

/** Words and operators; undefined for what is not understood: pipes, loops, substitutions of commands, globs. */
function tokenize(script: string): Token[] | undefined {
  const tokens: Token[] = [];
  const pattern =
    /[ \t]+|(\n|;|&&|\|\||>>|>)|((?:[^\s;&|<>"'`$\\(){}*?[\]#]|\\[^\n]|\$\{[A-Za-z_]\w*\}|\$[A-Za-z_]\w*|'[^']*'|"(?:[^"\\`$]|\\[\s\S]|\$\{[A-Za-z_]\w*\}|\$[A-Za-z_]\w*)*"|&2)+)/y;
  for (let at = 0; at < script.length; at = pattern.lastIndex) {
    pattern.lastIndex = at;
    const match = pattern.exec(script);
    if (match === null) return undefined;
    const [, operator, word] = match;
    if (operator !== undefined) tokens.push({ text: operator === "\n" ? ";" : operator, operator: true });
    else if (word !== undefined) tokens.push({ text: unquote(word), operator: false });
  }
  return tokens;
}

function unquote(word: string): string {
  return word.replace(/'([^']*)'|"((?:[^"\\]|\\[\s\S])*)"|\\([^\n])/g, (_match, single, double, escaped) => {
    if (single !== undefined) return String(single).replaceAll("$", literalDollar);
    if (double !== undefined) {
      return String(double).replace(/\\([\\"`$])/g, (_all, char: string) => (char === "$" ? literalDollar : char));
    }
    return escaped === "$" ? literalDollar : String(escaped);
  });
}
