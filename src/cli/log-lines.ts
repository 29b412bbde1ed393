import { styleText } from "node:util";
import { UsageError } from "./command.ts";

/** One line of a log, with where it comes from. The names are those of stern. */
export interface LineFacts {
  message: string;
  /** Name of the Job; of a pod that no Job controls, its own. */
  run: string;
  namespace: string;
  podName: string;
  containerName: string;
  nodeName: string;
  /** The node's, when the line was written. */
  time: string;
}

export interface LineOptions {
  output?: "default" | "json" | "raw" | "template";
  template?: string;
  include: readonly RegExp[];
  exclude: readonly RegExp[];
}

/** Default: each line after its run, and its time where it is asked for. */
export type LineFormat = ((facts: LineFacts) => string) | null;

const FIELDS: readonly (keyof LineFacts)[] = [
  "message",
  "run",
  "namespace",
  "podName",
  "containerName",
  "nodeName",
  "time",
];

/** @throws UsageError for a template that names a field that there is not */
export function lineFormat({ output, template }: LineOptions): LineFormat {
  const chosen = output ?? (template === undefined ? "default" : "template");
  if (chosen === "json") return (facts) => JSON.stringify(facts);
  if (chosen === "raw") return ({ message }) => message;
  if (chosen !== "template") return null;
  if (template === undefined)
    throw new UsageError("-o template: give --template as well, e.g. '{{.run}} {{.message}}'");
  const parts = template
    .replaceAll("\\n", "\n")
    .replaceAll("\\t", "\t")
    .split(/\{\{\s*\.?(\w*)\s*\}\}/);
  const fields = parts.filter((_, index) => index % 2 === 1).map(fieldOf);
  const texts = parts.filter((_, index) => index % 2 === 0);
  return (facts) => texts.reduce((line, text, index) => line + facts[fields[index - 1] as keyof LineFacts] + text);
}

/** As stern writes it (`.PodName`), too. */
function fieldOf(name: string): keyof LineFacts {
  const field = FIELDS.find((each) => each.toLowerCase() === name.toLowerCase());
  if (field === undefined)
    throw new UsageError(
      `--template: got {{${name}}}; the fields are ${FIELDS.map((each) => `{{.${each}}}`).join(" ")}`,
    );
  return field;
}

export function isWanted({ include, exclude }: LineOptions, text: string): boolean {
  if (include.length > 0 && !include.some((each) => each.test(text))) return false;
  return !exclude.some((each) => each.test(text));
}

/** What matches, in bold red. */
export function highlighted(text: string, patterns: readonly RegExp[]): string {
  return patterns.reduce(
    (marked, pattern) =>
      marked.replace(new RegExp(pattern.source, "g"), (found) =>
        found === "" ? "" : styleText(["bold", "red"], found, { validateStream: false }),
      ),
    text,
  );
}

/** For commander: one more regular expression. */
export function pattern(option: string): (text: string, known?: readonly RegExp[]) => RegExp[] {
  return (text, known = []) => [...known, expression(option, text)];
}

/** @throws UsageError */
export function expression(option: string, text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new UsageError(
      `${option}: got ${JSON.stringify(text)}; give a regular expression: ${(error as Error).message}`,
    );
  }
}
