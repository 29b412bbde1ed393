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
  // `String` throws for an object that cannot be made a text.
  text ??= typeof value === "object" ? "an object" : String(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

export interface BootstrapFailure {
  /** The host's `errorCode`. */
  code: string;
  message: string;
  /** `transient_upstream`: trying again may help. Null: someone must change something first. */
  family: "transient_upstream" | null;
  cause?: unknown;
}

/** Something failed before the agent could have started: the host may safely try again. */
export class BootstrapError extends Error {
  override readonly name = "BootstrapError";
  readonly code: string;
  readonly family: "transient_upstream" | null;
  /** Nobody can say for certain that the agent has not started: then the host must not start it again unasked. */
  agentMayRun = false;
  constructor({ code, message, family, cause }: BootstrapFailure) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.family = family;
  }

  /** @returns itself */
  unlessStarted(mayRun: boolean): this {
    this.agentMayRun = mayRun;
    return this;
  }
}

/** One line for people. */
export function reasonOf(error: unknown): string {
  if (error instanceof Error) return error.message || error.name;
  return typeof error === "string" ? error : describe(error);
}
