/** A fault of the embedded cluster must not end the process that it is embedded in. */
export function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : new Error(String(error)));
}
