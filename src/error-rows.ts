import { OWN_POD_PERMISSION, PERMISSIONS, SHARD_PERMISSIONS } from "./adapter/check/permissions.ts";
import { CHECKS, ENGINE_ERRORS, EXECUTE_ERRORS, HOST_ERRORS } from "./error-codes.ts";

export interface ErrorEntry {
  readonly code: string;
  readonly meaning: string;
  /** Of `execute` only. */
  readonly retry?: keyof typeof RETRIES;
  readonly action: string;
}

export const RETRIES = {
  yes: "yes",
  later: "when the quota is back",
  no: "no",
  refused: "no",
  depends: "where waiting can help",
} as const;

const entries = (rows: Readonly<Record<string, Omit<ErrorEntry, "code">>>): ErrorEntry[] =>
  Object.entries(rows).map(([code, row]) => ({ code, ...row }));

/** Every code, by where it comes from. */
export const ERROR_SECTIONS: Readonly<Record<"execute" | "host" | "check" | "engine", readonly ErrorEntry[]>> = {
  execute: entries(EXECUTE_ERRORS),
  host: entries(HOST_ERRORS),
  check: [
    ...entries(CHECKS),
    ...[...PERMISSIONS, OWN_POD_PERMISSION, ...SHARD_PERMISSIONS].map(
      ({ code, verb, resource, subresource, why, optional }) => ({
        code,
        meaning: `The right to \`${verb} ${resource}${subresource === undefined ? "" : `/${subresource}`}\`: ${why}.`,
        action: optional === true ? "Grant it; runs go on without it, with less." : "Grant it.",
      }),
    ),
  ],
  engine: entries(ENGINE_ERRORS),
};
