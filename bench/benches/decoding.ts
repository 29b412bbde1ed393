import { readFileSync } from "node:fs";
import { POD_KINDS } from "../../src/engine/informer/messages.ts";
import { trimPod } from "../../src/engine/informer/trim.ts";
import { readEvent } from "../../src/engine/transport/index.ts";
import type { Table } from "../harness/bench.ts";
import { format, ratio } from "../harness/stats.ts";

interface Pair {
  resource: string;
  type: string;
  json: object;
  protobuf: string;
}

/** The same frames of a real server in both formats: bytes to the object that the cache keeps, without any connection. */
export function decoding(quick: boolean): Table {
  const recorded = readFileSync(new URL("../../test/fixtures/protobuf/kubernetes-1.36.jsonl", import.meta.url), "utf8");
  const pods = recorded
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Pair)
    .filter(({ resource, type }) => resource === "pods" && type !== "BOOKMARK");
  const json = pods.map(({ type, json: object }) => Buffer.from(JSON.stringify({ type, object })));
  const protobuf = pods.map((each) => Buffer.from(each.protobuf, "base64"));
  const bytes = (frames: Buffer[]) => Math.round(frames.reduce((sum, { length }) => sum + length, 0) / frames.length);
  const time = (each: (at: number) => void) => {
    const round = () => pods.forEach((_, at) => void each(at));
    const rounds = quick ? 100 : 3_000;
    for (let at = 0; at < rounds / 3; at += 1) round();
    const before = process.cpuUsage();
    for (let at = 0; at < rounds; at += 1) round();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / rounds / pods.length;
  };
  const parsed = time((at) => void JSON.parse((json[at] as Buffer).toString()));
  const read = time((at) => void trimPod(readEvent(protobuf[at] as Buffer, POD_KINDS).object));
  return {
    title: "Decoding alone, recorded frames of a real server",
    columns: ["what", "bytes a frame", "CPU µs a frame", "against JSON.parse"],
    rows: [
      ["JSON.parse", format(bytes(json)), format(parsed), "1×"],
      ["protobuf to the trimmed object", format(bytes(protobuf)), format(read), ratio(read / parsed)],
    ],
  };
}
