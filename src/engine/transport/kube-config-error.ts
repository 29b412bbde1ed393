/** A kubeconfig that cannot be used. */
export class KubeConfigError extends Error {
  override readonly name = "KubeConfigError";
  readonly code = "kubeconfig_invalid";
  /** Where: `path`, `current-context`, `clusters[prod].cluster.proxy-url` … */
  readonly field: string;
  /** What stood there; never key or token. */
  readonly got: string;
  /** What to do. */
  readonly hint: string;
  constructor(field: string, got: string, hint: string, options?: ErrorOptions) {
    super(`kubeconfig: ${field}: got ${got}; ${hint}`, options);
    this.field = field;
    this.got = got;
    this.hint = hint;
  }
}

/** A value of a kubeconfig for an error, cut; of what is no text only the type. */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  return value === undefined || value === null
    ? "nothing"
    : Array.isArray(value)
      ? "a list"
      : typeof value === "object"
        ? "an object"
        : `a ${typeof value}`;
}

export function codeOf(cause: unknown): string {
  const code = (cause as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "unreadable";
}
