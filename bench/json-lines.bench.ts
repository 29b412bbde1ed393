import { readdirSync, readFileSync } from "node:fs";
import { JsonLinesDecoder } from "../src/engine/transport/index.ts";

/**
 * What the decoder costs above bare `JSON.parse` of the same lines: `node bench/json-lines.bench.ts`. The lines are the frames
 * of the recorded traces; the chunks are as large as HTTP/2's DATA frames (16 KiB) and as small as a slow line's (1 400 bytes).
 * Goal: at most 1.15 times.
 */
const ROUNDS = 15;
const directory = new URL("../test/fixtures/traces/kubernetes-1.36/", import.meta.url);

const frames = readdirSync(directory)
  .filter((name) => name.endsWith(".jsonl"))
  .flatMap((name) => readFileSync(new URL(name, directory), "utf8").split("\n"))
  .filter(Boolean)
  .map((line) => {
    const { type, object } = JSON.parse(line) as { type: string; object: unknown };
    return JSON.stringify({ type, object });
  });
const lines = Array.from({ length: Math.ceil(4_000 / frames.length) }, () => frames).flat();
const bytes = Buffer.from(`${lines.join("\n")}\n`);

function chunksOf(size: number): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) chunks.push(Buffer.from(bytes.subarray(at, at + size)));
  return chunks;
}

function decode(chunks: readonly Buffer[]): number {
  const decoder = new JsonLinesDecoder();
  let count = 0;
  const onValue = () => {
    count += 1;
  };
  for (const chunk of chunks) decoder.push(chunk, onValue);
  decoder.end(onValue);
  return count;
}

/** From the same bytes, since a decoder has no strings either. */
const lineBuffers = lines.map((line) => Buffer.from(line));
function bare(): number {
  for (const line of lineBuffers) JSON.parse(line.toString("utf8"));
  return lineBuffers.length;
}

const contestants: [string, () => number][] = [
  ["JSON.parse", bare],
  ...[1_400, 16 * 1024, 64 * 1024].map((size): [string, () => number] => {
    const chunks = chunksOf(size);
    return [`decoder, ${size}-byte chunks`, () => decode(chunks)];
  }),
];

// In turn, so that a change of the machine's mood meets all of them.
const times = new Map<string, number[]>(contestants.map(([name]) => [name, []]));
for (let round = -2; round < ROUNDS; round++) {
  for (const [name, run] of contestants) {
    const startedAt = performance.now();
    if (run() !== lines.length) throw new Error(`${name} lost lines`);
    if (round >= 0) times.get(name)?.push(performance.now() - startedAt);
  }
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const base = median(times.get("JSON.parse") ?? []);
console.log(
  `${lines.length} frames, ${(bytes.length / 1e6).toFixed(1)} MB, median of ${ROUNDS} rounds, Node ${process.version}`,
);
for (const [name, values] of times) {
  const ms = median(values);
  console.log(
    `${name.padEnd(28)} ${ms.toFixed(1).padStart(7)} ms  ${(bytes.length / 1e3 / ms).toFixed(0).padStart(5)} MB/s  ${(ms / base).toFixed(3)} × JSON.parse`,
  );
}
