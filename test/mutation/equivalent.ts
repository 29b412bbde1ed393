/** Changes that make no difference to anybody, by file and by the line as the command shows it, each with its reason. */
const EQUIVALENT: Readonly<Record<string, readonly (readonly [shown: string, reason: string])[]>> = {};

export function isEquivalent(file: string, shown: string): boolean {
  return (EQUIVALENT[file] ?? []).some(([each]) => each === shown);
}
