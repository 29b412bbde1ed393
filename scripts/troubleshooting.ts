/** `node scripts/troubleshooting.ts`: writes docs/troubleshooting.md from the table of error codes. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ERROR_SECTIONS, type ErrorEntry, RETRIES } from "../src/error-rows.ts";

export const FILE = join(import.meta.dirname, "../docs/troubleshooting.md");

/** A column of retries where the section has any. */
function table(rows: readonly ErrorEntry[]): string {
  const hasRetries = rows.some(({ retry }) => retry !== undefined);
  const titles = ["code", "what it means", ...(hasRetries ? ["does the host try again"] : []), "what to do"];
  const cells = rows.map(({ code, meaning, retry, action }) => [
    `\`${code}\``,
    meaning,
    ...(hasRetries ? [RETRIES[retry ?? "no"]] : []),
    action,
  ]);
  return [titles, titles.map(() => "---"), ...cells].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

export function troubleshooting(): string {
  return `<!-- Written by \`node scripts/troubleshooting.ts\` from src/error-codes.ts. Change it there. -->

# Troubleshooting

Each message ends with its code in brackets. \`k8s-run-informer explain CODE\` prints its row.

## A run failed

*Does the host try again*: Paperclip starts a run of such a result once more after 30 s, two times at most. With
\`conversationContinuation\` (on by default) it also continues the conversation of other failed runs once. A run of which it is certain
that no agent ran never holds its issue at the first failure.

${table(ERROR_SECTIONS.execute)}

Codes that Paperclip gives a run by itself:

${table(ERROR_SECTIONS.host)}

## The environment test

\`k8s-run-informer check\` runs it from a terminal. Each check that fails has a hint with the very command.

${table(ERROR_SECTIONS.check)}

## Errors of the library

\`error.code\`, and in brackets where the command prints one.

${table(ERROR_SECTIONS.engine)}
`;
}

if (import.meta.main) writeFileSync(FILE, troubleshooting());
