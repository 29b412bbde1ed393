import type { Life } from "./holder.ts";

/**
 * Whether the process that a Job names as its owner lives.
 * - `live`: its Lease may run out in `ms`, should it not be renewed;
 * - `unsure`: its Lease has run out by the server's clock; it was seen unchanged for too short a time yet, ask again in `ms`;
 * - `over`: it cannot own anything any more, once its Lease is deleted. `mayBeUnheard`: by someone else, so that it may live and hear
 *   of that only with its next renewal.
 */
export type OwnerState =
  | { readonly state: "live" | "unsure"; readonly ms: number }
  | { readonly state: "over"; readonly mayBeUnheard?: boolean };

/** A Lease's version, and when this process saw it first and last, on its monotonic clock. */
export interface Sight {
  readonly version: string;
  readonly firstAt: number;
  readonly lastAt: number;
}

/** A process that lives renews within this time, on any clock. It guards against a server's clock that is set forward. */
export const CONFIRM_MS = 15_000;
/** Between two looks at a Lease that has just been renewed. */
const LEAST_MS = 1_000;

/**
 * Judges a Lease that was read just now. Pure. Two clocks are never compared: its age is by the server's (`writtenMsAgo`), or the
 * time for which this process saw it unchanged. Where its holder is known to run, only the latter counts.
 * @param before the former look at it
 * @param writtenMsAgo null: the server does not tell
 */
export function judgeLease(
  before: Sight | undefined,
  read: { version: string; durationMs: number; writtenMsAgo: number | null; life: Life; now: number },
): { verdict: OwnerState; sight: Sight } {
  const { version, durationMs, writtenMsAgo, life, now } = read;
  const isSame = before?.version === version;
  const sight: Sight = { version, firstAt: isSame ? before.firstAt : now, lastAt: now };
  if (life === "dead") return { verdict: { state: "over" }, sight };
  const wasRenewed = before !== undefined && !isSame && now - before.lastAt < durationMs;
  const seenMs = now - sight.firstAt;
  const ageMs = Math.max(seenMs, life === "unknown" ? (writtenMsAgo ?? 0) : 0);
  if (wasRenewed || ageMs < durationMs) {
    return { verdict: { state: "live", ms: Math.max(LEAST_MS, durationMs - ageMs) }, sight };
  }
  if (seenMs < CONFIRM_MS) return { verdict: { state: "unsure", ms: CONFIRM_MS - seenMs }, sight };
  return { verdict: { state: "over" }, sight };
}
