import type { ReadOutcome } from "../../../src/engine/logs/follow-history.ts";

/** How reads can go, for the tables of history and policy. */

export const NOW = 1_000_000;
export const timeOf = (seconds: number) => new Date(seconds * 1000).toISOString();

export const clean = (of: Partial<Extract<ReadOutcome, { end: "clean" }>> = {}): ReadOutcome => ({
  end: "clean",
  final: false,
  delivered: 5,
  openMs: 100,
  quietMs: 50,
  answered: true,
  serverTime: null,
  caughtUp: true,
  unfinished: false,
  place: "5",
  ...of,
});
export const broken = (of: Partial<Extract<ReadOutcome, { end: "broken" }>> = {}): ReadOutcome => ({
  end: "broken",
  final: false,
  delivered: 5,
  openMs: 100,
  quietMs: 50,
  answered: true,
  serverTime: null,
  caughtUp: true,
  unfinished: false,
  ...of,
});
export const refused = (status: number, message = "", retryAfterMs?: number): ReadOutcome => ({
  end: "refused",
  final: false,
  delivered: 0,
  openMs: 0,
  quietMs: 0,
  answered: false,
  serverTime: null,
  unfinished: false,
  status,
  message,
  retryAfterMs,
});
