/** Frames of protobuf that were changed at random, and any bytes, through the reader of watches. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { frameProtobuf } from "../../../../src/embedded/api/protobuf.ts";
import { JOB_KINDS, POD_KINDS } from "../../../../src/engine/informer/messages.ts";
import { trimJob, trimPod } from "../../../../src/engine/informer/trim.ts";
import { FrameError, ProtobufFrames, readEvent, readObject } from "../../../../src/engine/transport/index.ts";
import fc from "../../property.ts";
import { fuzz, fuzzTimeoutMs, pieces } from "./fuzz.ts";

const recorded = readFileSync(new URL("../../../fixtures/protobuf/kubernetes-1.36.jsonl", import.meta.url), "utf8")
  .trim()
  .split("\n")
  .map((line) => Buffer.from((JSON.parse(line) as { protobuf: string }).protobuf, "base64"));
const kinds = { ...JOB_KINDS, ...POD_KINDS };
const sizes = fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 6 });

/** Bytes overwritten, cut out and put in twice: most of it stands as it was, so that the reader comes far. */
const change = fc.record({
  /** Where, from 0 to 1. */
  at: fc.noBias(fc.double({ min: 0, max: 1, noNaN: true })),
  /** Null: as many as are put there. */
  cut: fc.option(fc.nat({ max: 12 }), { freq: 1 }),

  bytes: fc.oneof(fc.uint8Array({ maxLength: 12 }), fc.constantFrom([0xff, 0xff, 0xff, 0xff, 0x7f], [0x80], [0x0b])),
});
const changed = fc
  .tuple(fc.constantFrom(...recorded), fc.array(change, { minLength: 1, maxLength: 4 }))
  .map(([frame, changes]) =>
    changes.reduce((bytes, { at, cut, bytes: put }) => {
      const from = Math.floor(at * bytes.length);
      return Buffer.concat([bytes.subarray(0, from), Buffer.from(put), bytes.subarray(from + (cut ?? put.length))]);
    }, frame),
  );

test("changed frames and any bytes: an object that trims, or a FrameError", { timeout: fuzzTimeoutMs() }, () => {
  let read = 0;
  let refused = 0;
  return fuzz(
    "changed frames of protobuf",
    fc.property(fc.oneof(changed, fc.uint8Array({ maxLength: 60 })), (bytes) => {
      try {
        const { type, object } = readEvent(Buffer.from(bytes), kinds);
        expect(typeof type).toBe("string");
        trimPod(object);
        trimJob(object);
        read += 1;
      } catch (error) {
        expect(error).toBeInstanceOf(FrameError);
        refused += 1;
      }
    }),
    { told: () => `, ${read} read, ${refused} refused` },
  ).then(() => expect(Math.min(read, refused)).toBeGreaterThan(0));
});

test("a stream of protobuf says the same however it is cut", { timeout: fuzzTimeoutMs() }, () => {
  const prefixed = (frame: Buffer) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(frame.length);
    return Buffer.concat([length, frame]);
  };
  const stream = fc
    .array(
      fc.oneof(
        { weight: 4, arbitrary: fc.constantFrom(...recorded).map(prefixed) },
        { weight: 1, arbitrary: fc.uint8Array({ maxLength: 9 }).map((bytes) => Buffer.from(bytes)) },
        { weight: 1, arbitrary: fc.constant(Buffer.alloc(4)) },
      ),
      { maxLength: 5 },
    )
    .map((each) => Buffer.concat(each));
  const split = (bytes: Buffer, cuts: readonly number[]) => {
    const frames = new ProtobufFrames({ maxFrameBytes: 50_000 });
    const seen: string[] = [];
    try {
      for (const piece of pieces(bytes, cuts)) frames.push(piece, (frame) => seen.push(frame.toString("base64")));
      frames.end();
    } catch (error) {
      expect(error).toBeInstanceOf(FrameError);
      seen.push((error as FrameError).kind);
    }
    return seen;
  };
  return fuzz(
    "streams of protobuf",
    fc.property(stream, sizes, (bytes, cuts) => {
      expect(split(bytes, cuts)).toEqual(split(bytes, [bytes.length + 1]));
    }),
    { triesAtOnce: 200 },
  );
});

/** What JSON can say of these kinds, and Go would write. */
const texts = fc.string({ unit: "binary", maxLength: 6 }).map((text) => text.toWellFormed());
const some = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const state = fc.oneof(
  fc.constant({}),
  fc.record({ waiting: fc.record({ reason: some(texts), message: some(texts) }) }),
  fc.record({ running: fc.record({ startedAt: some(fc.constant("2026-11-28T07:23:12Z")) }) }),
  fc.record({
    terminated: fc.record({ exitCode: fc.integer(), signal: some(fc.integer({ min: 1 })), reason: some(texts) }),
  }),
);
const pod = fc.record({
  metadata: fc.record({
    name: fc.constant("n"),
    uid: fc.constant("u"),
    resourceVersion: fc.constant("1"),
    labels: some(fc.dictionary(texts, texts, { maxKeys: 3, noNullPrototype: true })),
    annotations: some(fc.dictionary(texts, texts, { maxKeys: 3, noNullPrototype: true })),
    deletionGracePeriodSeconds: some(fc.maxSafeInteger()),
  }),
  spec: fc.record({
    containers: fc.array(
      fc.record({
        name: fc.constantFrom("a", "é", "🚀"),
        restartPolicyRules: some(
          fc.constant([{ action: "Restart", exitCodes: { operator: "In", values: [0, 42, 255] } }]),
        ),
      }),
      { minLength: 1, maxLength: 3 },
    ),
    terminationGracePeriodSeconds: some(fc.nat()),
  }),
  status: fc.record({
    phase: some(fc.constantFrom("Pending", "Running", "Failed")),
    containerStatuses: some(
      fc.array(
        fc.record({ name: fc.constant("a"), restartCount: fc.nat({ max: 2 ** 31 - 1 }), state, lastState: state }),
        {
          minLength: 1,
          maxLength: 3,
        },
      ),
    ),
  }),
});

test("any pod: the same trimmed object in both formats", { timeout: fuzzTimeoutMs() }, () =>
  fuzz(
    "pods in both formats",
    fc.property(pod, (object) => {
      // Go leaves an empty text out of JSON.
      const json = JSON.stringify(object, (key, value) =>
        value === "" && ["reason", "message"].includes(key) ? undefined : value,
      );
      const bytes = frameProtobuf("ADDED", { kind: "Pod", apiVersion: "v1" }, JSON.parse(json)).subarray(4);
      expect(trimPod(readEvent(bytes, POD_KINDS).object)).toEqual(trimPod(JSON.parse(json)));
      expect(() => readObject(bytes, POD_KINDS)).toThrow(FrameError);
    }),
  ),
);
