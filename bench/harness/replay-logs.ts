import type { Http2ServerResponse } from "node:http2";
import { monotonicMs } from "./child.ts";

/**
 * Logs of the replay server. Each line begins with its kubelet time stamp and says its number and when it was written, in
 * `monotonicMs`: `… 17 123456.789 padding`.
 */
interface FollowedLog {
  response: Http2ServerResponse;
  lines: number;
}

const followed = new Set<FollowedLog>();
let timer: NodeJS.Timeout | null = null;
const PADDING = "x".repeat(120);

/** Pods of this name have so much to say at once, and then nothing more. */
export const TALKATIVE = "talkative";
export const TALKATIVE_BYTES = 4 * 1024 * 1024;

export function logRoute(url: URL, response: Http2ServerResponse): void {
  response.writeHead(200, { "content-type": "text/plain" });
  if (url.pathname.includes(`/pods/${TALKATIVE}`)) {
    // The same bytes for all, so that the server needs little for them.
    for (let bytes = 0; bytes < TALKATIVE_BYTES; bytes += SPEECH.length) response.write(SPEECH);
    return;
  }
  const log: FollowedLog = { response, lines: 0 };
  response.write(line(log));
  if (url.searchParams.get("follow") !== "true") {
    response.end();
    return;
  }
  followed.add(log);
  response.once("close", () => followed.delete(log));
}

const SPEECH = Buffer.from(
  Array.from({ length: 256 }, (_, at) => {
    const nanos = String(at).padStart(9, "0");
    return `2026-01-01T00:00:00.${nanos}Z ${"x".repeat(200)}\n`;
  }).join(""),
);

/** Every followed log gets so many lines a second, each stream at its own moments. */
export function startLines({ linesPerSecond }: { linesPerSecond: number }): void {
  stopLines();
  const startedAt = performance.now();
  const written = new Map<FollowedLog, number>();
  timer = setInterval(() => {
    const seconds = (performance.now() - startedAt) / 1000;
    let phase = 0;
    for (const log of followed) {
      phase = (phase + 0.618_034) % 1;
      const due = Math.floor(seconds * linesPerSecond + phase);
      for (let done = written.get(log) ?? 0; done < due; done += 1) log.response.write(line(log));
      written.set(log, due);
    }
  }, 5);
}

/** Returns how many lines each log has had, its first one included. */
export function stopLines(): number {
  if (timer !== null) clearInterval(timer);
  timer = null;
  let lines = 0;
  for (const log of followed) lines += log.lines;
  return lines;
}

/** Wall clock in nanoseconds, never the same twice. */
const clockBase =
  BigInt(Math.round(performance.timeOrigin * 1000)) * 1000n -
  (process.hrtime.bigint() - BigInt(Math.round(performance.now() * 1e6)));
let lastNanos = 0n;

function line(log: FollowedLog): string {
  const now = clockBase + process.hrtime.bigint();
  lastNanos = now > lastNanos ? now : lastNanos + 1n;
  const ms = Number(lastNanos / 1_000_000n);
  const rest = String(lastNanos % 1_000_000n).padStart(6, "0");
  log.lines += 1;
  return `${new Date(ms).toISOString().slice(0, -1)}${rest}Z ${log.lines} ${monotonicMs().toFixed(3)} ${PADDING}\n`;
}
