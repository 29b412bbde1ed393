/** A key of the agent's configuration holds something that cannot be used. No Job exists. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly key: string;
  /** As JSON, shortened; values of keys that may hold credentials are not shown. */
  readonly got: string;
  readonly expected: string;
  constructor(key: string, got: unknown, expected: string) {
    const shown = /(^|\.)env(\.|$)|token|secret|password|api_?key/i.test(key) ? typeof got : describe(got);
    super(`${key}: expected ${expected}, got ${shown}`);
    this.key = key;
    this.got = shown;
    this.expected = expected;
  }
}

function describe(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    text = undefined;
  }
  text ??= String(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
