import type { ExecuteCode, FamilyOf } from "../error-codes.ts";

/** A key of the agent's configuration holds something that cannot be used. No Job exists. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly code = "k8s_config_invalid";
  readonly key: string;
  /** As JSON, shortened; values of keys that may hold credentials are not shown. */
  readonly got: string;
  readonly expected: string;
  /** This key's part of the message. */
  readonly problem: string;
  #others: readonly ConfigError[] = [];

  constructor(key: string, got: unknown, expected: string) {
    const shown = /(^|\.)env(\.|$)|token|secret|password|api_?key/i.test(key) ? typeof got : describe(got);
    const problem = `${key}: expected ${expected}, got ${shown}`;
    super(problem);
    this.key = key;
    this.got = shown;
    this.expected = expected;
    this.problem = problem;
  }

  /** One for each key that is wrong, this one first. */
  get all(): readonly ConfigError[] {
    return [this, ...this.#others];
  }

  /** Says in its message what else is wrong, so that all is put right in one go. */
  and(others: readonly ConfigError[]): this {
    this.#others = others;
    this.message = this.all.map(({ problem }) => problem).join("; ");
    return this;
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

/** `code` is the host's `errorCode`. `family` null: someone must change something before trying again can help. */
export type BootstrapFailure = {
  [C in ExecuteCode]: {
    code: C;
    message: string;
    family: Extract<FamilyOf<C>, "transient_upstream" | null>;
    /** Default `never-ran`. */
    agent?: AgentState;
    cause?: unknown;
  };
}[ExecuteCode];

/**
 * What is certain of a run's agent:
 * - `never-ran`: its process did not start and will not;
 * - `may-run`: nobody can say that it does not run or will not start;
 * - `ended`: its process has ended, or its pod is deleted.
 */
export type AgentState = "never-ran" | "may-run" | "ended";

/** A run failed before it could be followed. */
export class BootstrapError extends Error {
  override readonly name = "BootstrapError";
  readonly code: ExecuteCode;
  readonly family: "transient_upstream" | null;
  /** Of this run. Unless it is `never-ran`, the host must not start the agent again unasked. */
  readonly agent: AgentState;
  constructor({ code, message, family, agent = "never-ran", cause }: BootstrapFailure) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.family = family;
    this.agent = agent;
  }
}

/** One line for people. */
export function reasonOf(error: unknown): string {
  if (error instanceof Error) return error.message || error.name;
  return typeof error === "string" ? error : describe(error);
}

/** A message for people ends with its code, by which docs/troubleshooting.md says what to do. */
export function withCode(message: string, code: string): string {
  const end = `(${code})`;
  return message.endsWith(end) ? message : `${message} ${end}`;
}
