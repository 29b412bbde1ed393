import { TimestampParser } from "./timestamp.ts";
import type { LogOptions } from "./types.ts";

/** Where a line stands: what its `position` says. */
export interface LinePlace {
  podName: string;
  container: string;
  restartCount: number;
  /** Which of the lines of its time, from 1. */
  ordinal: number;
  /** As the kubelet wrote it. */
  time: string;
  seconds: number;
  nanos: number;
}

/** Behind it stands the line's time. None of the names has a slash. */
export function positionPrefix({
  podName,
  container,
  restartCount,
  ordinal,
}: Omit<LinePlace, "time" | "seconds" | "nanos">) {
  return `${podName}/${container}/${restartCount}/${ordinal}/`;
}

/**
 * Where the line stands that the options say to go on behind; null: they say none.
 * @throws TypeError that names `after`.
 */
export function placeAfter({ after, tailLines, since }: LogOptions, container: string): LinePlace | null {
  if (after === undefined) return null;
  const place = readPosition(after);
  if (place === null)
    throw new TypeError(`after: got ${JSON.stringify(after)}; give the position of a line, or leave it out`);
  if (place.container !== container)
    throw new TypeError(
      `after: got a position in the log of container ${place.container}; this is the log of ${container}`,
    );
  if ((tailLines ?? since) !== undefined) throw new TypeError("after: give it without tailLines and since");
  return place;
}

function readPosition(position: string): LinePlace | null {
  const [, podName, container, restartCount, ordinal, time] =
    /^([^/]+)\/([^/]+)\/(\d{1,9})\/([1-9]\d{0,8})\/([^/]+)$/.exec(position) ?? [];
  if (podName === undefined || container === undefined || time === undefined) return null;
  const parser = new TimestampParser();
  const bytes = Buffer.from(time);
  if (parser.parse(bytes, 0, bytes.length) !== bytes.length) return null;
  const { seconds, nanos } = parser;
  return { podName, container, restartCount: Number(restartCount), ordinal: Number(ordinal), time, seconds, nanos };
}
