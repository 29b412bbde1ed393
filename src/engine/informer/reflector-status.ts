import type { ReflectorState } from "./reflector-policy.ts";

/** How a reflector stands. */
export interface ReflectorStatus {
  state: ReflectorState["name"] | "Stopped";
  /** A watch is open now. */
  connected: boolean;
  /** Monotonic time (`performance.now()`) of the last byte from the server. */
  lastProgressAt: number;
  /** Why it is not healthy; null again when the server answers. */
  error: Error | null;
}

/** What it has done since its start. */
export interface ReflectorCounts {
  lists: number;
  watches: number;
  frames: number;
  bookmarks: number;
  bytes: number;
  /** Frames whose object had no identity; they are passed over. */
  badFrames: number;
  errors: number;
}

export const NO_COUNTS: ReflectorCounts = {
  lists: 0,
  watches: 0,
  frames: 0,
  bookmarks: 0,
  bytes: 0,
  badFrames: 0,
  errors: 0,
};
