/** Jobs and pods as protobuf: recorded frames of a real server, bytes that are none, and servers that speak it only in part. */
import { readFileSync } from "node:fs";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { describe, expect, it, onTestFinished } from "vitest";
import { frameProtobuf, listProtobuf, statusProtobuf } from "../../../src/embedded/api/protobuf.ts";
import { MESSAGES } from "../../../src/embedded/api/protobuf-messages.ts";
import { PODS } from "../../../src/engine/engine-caches.ts";
import { Informer, type InformerOptions } from "../../../src/engine/informer/informer.ts";
import { JOB_KINDS, POD_KINDS } from "../../../src/engine/informer/messages.ts";
import { trimJob, trimPod } from "../../../src/engine/informer/trim.ts";
import type { Pod } from "../../../src/engine/kubernetes.ts";
import {
  Cluster,
  FrameError,
  messageTable,
  ProtobufFrames,
  readEvent,
  readObject,
} from "../../../src/engine/transport/index.ts";
import { status } from "../engine/harness.ts";
import { startApiServer, status as statusBody } from "../transport/api-server.ts";

interface Pair {
  resource: "jobs" | "pods";
  type: string;
  json: { kind: string; apiVersion: string; metadata: { uid?: string } };
  protobuf: string;
}

/** Chosen from the recording of a real kube-apiserver 1.36.2: the same frames, once as JSON and once as protobuf. */
const pairs = readFileSync(new URL("../../fixtures/protobuf/kubernetes-1.36.jsonl", import.meta.url), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Pair);
const kindsOf = ({ resource }: Pair) => (resource === "jobs" ? JOB_KINDS : POD_KINDS);
const trimOf = ({ resource }: Pair) => (resource === "jobs" ? trimJob : trimPod);
const bytesOf = ({ protobuf }: Pair) => Buffer.from(protobuf, "base64");

describe("frames of a real server", () => {
  it("come to the same trimmed object as their JSON", () => {
    expect(pairs.length).toBeGreaterThan(20);
    for (const pair of pairs) {
      const { type, object } = readEvent(bytesOf(pair), kindsOf(pair));
      expect(type).toBe(pair.type);
      expect(trimOf(pair)(object)).toEqual(trimOf(pair)(pair.json));
    }
  });

  it("have the same bookmarks, which are not trimmed", () => {
    const bookmarks = pairs.filter(({ type }) => type === "BOOKMARK");
    expect(bookmarks.length).toBeGreaterThan(1);
    for (const pair of bookmarks)
      expect(readEvent(bytesOf(pair), kindsOf(pair)).object.metadata).toEqual(pair.json.metadata);
  });

  it("say the same in every field as what the embedded server writes of their JSON", () => {
    for (const pair of pairs) {
      const ours = frameProtobuf(pair.type, pair.json, pair.json).subarray(4);
      expect(said(ours, pair.json.kind)).toEqual(said(bytesOf(pair), pair.json.kind));
    }
  });
});

/** All fields of an event's object that are not empty, by message and number: read without the code under test. */
function said(event: Buffer, kind: string): unknown {
  const messages = new Map(
    MESSAGES.trim()
      .split("\n")
      .map((line) => [line.split(" ")[0], line.split(" ").slice(1)]),
  );
  messages.set("Time", ["1seconds:int", "2nanos:int"]).set("Quantity", ["1string"]).set("FieldsV1", ["1Raw"]);
  messages.set("IntOrString", ["1type:int", "2intVal:int", "3strVal"]);
  const fieldsOf = (bytes: Buffer) => {
    const fields: [number, bigint | Buffer][] = [];
    let at = 0;
    const varint = () => {
      let value = 0n;
      for (let shift = 0n; ; shift += 7n) {
        const byte = bytes[at++] as number;
        value |= BigInt(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
      }
    };
    while (at < bytes.length) {
      const tag = Number(varint());
      const value = varint();
      if ((tag & 7) === 0) fields.push([tag >>> 3, value]);
      else {
        fields.push([tag >>> 3, bytes.subarray(at, at + Number(value))]);
        at += Number(value);
      }
    }
    return fields;
  };
  const read = (name: string, bytes: Buffer): Record<string, unknown[]> => {
    const types = new Map((messages.get(name) ?? []).map((field) => [Number.parseInt(field, 10), field.split(":")[1]]));
    const found: Record<string, unknown[]> = {};
    for (const [number, value] of fieldsOf(bytes)) {
      const type = types.get(number) ?? "";
      const one = typeof value === "bigint" ? value : messages.has(type) ? read(type, value) : value.toString();
      if (one === 0n || one === "" || (typeof one === "object" && Object.keys(one).length === 0)) continue;
      found[`${name}.${number}`] = [...(found[`${name}.${number}`] ?? []), one];
    }
    return found;
  };
  const [, [, extension] = []] = fieldsOf(event);
  const [[, enveloped] = []] = fieldsOf(extension as Buffer);
  const [, [, raw] = []] = fieldsOf((enveloped as Buffer).subarray(4));
  return read(kind, raw as Buffer);
}

describe("reading by a table", () => {
  const inner = messageTable({ 1: ["a", "integer"], 2: ["b", "text"] });
  const table = messageTable({
    1: ["text", "text"],
    2: ["number", "integer"],
    3: ["count", "count"],
    4: ["one", inner],
    5: ["many", [inner]],
    6: ["map", "map"],
    7: ["numbers", "integers"],
    8: ["at", "time"],
    9: ["flag", "flag"],
  });
  const read = (...bytes: number[]) => {
    const envelope = [0x0a, 3, 0x12, 1, 0x4b, 0x12, bytes.length, ...bytes];
    const { kind, apiVersion, ...fields } = readObject(Buffer.from([0x6b, 0x38, 0x73, 0, ...envelope]), { K: table });
    return fields;
  };

  it.each<[string, number[], object]>([
    [
      "a negative number has ten bytes",
      [0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
      { number: -1 },
    ],
    ["-2^31", [0x10, 0x80, 0x80, 0x80, 0x80, 0xf8, 0xff, 0xff, 0xff, 0xff, 1], { number: -(2 ** 31) }],
    ["2^53 - 1", [0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f], { number: 2 ** 53 - 1 }],
    ["a zero that JSON writes, and one that it leaves out", [0x10, 0, 0x18, 0], { number: 0 }],
    ["an empty text, an empty time: left out", [0x0a, 0, 0x42, 0], {}],
    ["an empty message is there", [0x22, 0], { one: {} }],
    ["the last of a field counts", [0x10, 1, 0x10, 2], { number: 2 }],
    ["parts of a message are joined", [0x22, 2, 8, 1, 0x22, 3, 0x12, 1, 0x78], { one: { a: 1, b: "x" } }],
    ["repeated messages", [0x2a, 2, 8, 1, 0x2a, 0], { many: [{ a: 1 }, {}] }],
    [
      "a map, one entry without its value",
      [0x32, 6, 0x0a, 1, 0x6b, 0x12, 1, 0x76, 0x32, 3, 0x0a, 1, 0x6c],
      { map: { k: "v", l: "" } },
    ],
    ["numbers one by one and packed", [0x38, 1, 0x3a, 2, 2, 3], { numbers: [1, 2, 3] }],
    ["a time, its nanoseconds passed over", [0x42, 4, 8, 60, 0x10, 5], { at: "1970-01-01T00:01:00Z" }],
    ["a flag", [0x48, 1], { flag: true }],
    [
      "unknown fields of each wire type",
      [0x50, 1, 0x59, 1, 2, 3, 4, 5, 6, 7, 8, 0x62, 1, 9, 0x6d, 1, 2, 3, 4, 0x10, 7],
      { number: 7 },
    ],
  ])("%s", (_, bytes, fields) => {
    expect(read(...bytes)).toEqual(fields);
  });

  it("a text is what its bytes say, whatever stood in its place before", () => {
    const texts = [
      // Of these, the bytes that choose the place are the same.
      ..."abcdefgh".split("").map((letter) => Buffer.from(`a-${letter}-long-text-that-ends-alike`)),
      // Of one length: a letter of two bytes, two letters, and bytes that are no UTF-8.
      ...[
        [0xc3, 0xa9],
        [0x61, 0x62],
        [0xc3, 0x28],
        [0xff, 0xfe],
      ].map((bytes) => Buffer.from(bytes)),
      ...[63, 64, 65, 100].map((length) => Buffer.alloc(length, "x")),
    ];
    for (const text of [...texts, ...texts, ...texts.toReversed()])
      expect(read(0x0a, text.length, ...text)).toEqual({ text: text.toString() });
  });

  it.each<[string, number[], RegExp]>([
    ["a number that breaks off", [0x10, 0x80], /a number breaks off/],
    ["a number without end", [0x10, ...Array(10).fill(0x80), 0], /more than ten bytes/],
    ["a text longer than its message", [0x0a, 5, 0x61], /longer than its message/],
    ["an unknown field longer than its message", [0x59, 1], /longer than its message/],
    [
      "a length that is negative",
      [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
      /longer than its message/,
    ],
    ["a group", [0x53], /wire type 3/],
    ["a text where a number belongs", [0x12, 1, 0x61], /number has the wire type 2/],
    ["a number where a message belongs", [0x20, 1], /one has the wire type 0/],
    ["a fixed number where a text belongs", [0x0d, 1, 2, 3, 4], /text has the wire type 5/],
    ["a field with the number 0", [0x00, 1], /the number 0/],
    ["a field whose number is beyond 32 bits", [0x82, 0x80, 0x80, 0x80, 0x10, 0], /the number 0, or one too large/],
    ["a field whose number is negative", [0xfa, ...Array(8).fill(0xff), 1, 0], /the number 0, or one too large/],
    ["a time beyond all calendars", [0x42, 9, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f], /a time of/],
  ])("%s is a FrameError that says so", (_, bytes, message) => {
    expect(() => read(...bytes)).toThrow(FrameError);
    expect(() => read(...bytes)).toThrow(message);
  });

  it("another kind, another encoding, and bytes without the magic are refused", () => {
    const { json } = pairs.find(({ resource }) => resource === "jobs") as Pair;
    const frame = frameProtobuf("ADDED", json, json).subarray(4);
    expect(() => readEvent(frame, POD_KINDS)).toThrow(/holds a "Job"/);
    expect(() => readObject(Buffer.from("{}"), POD_KINDS)).toThrow(/does not begin/);
    const gzip = Buffer.from([
      0x6b,
      0x38,
      0x73,
      0,
      0x0a,
      5,
      0x12,
      3,
      ...Buffer.from("Pod"),
      0x1a,
      4,
      ...Buffer.from("gzip"),
    ]);
    expect(() => readObject(gzip, POD_KINDS)).toThrow(/encoded in another way/);
  });
});

describe("splitting a stream", () => {
  it("refuses a frame by its length alone", () => {
    const frames = new ProtobufFrames({ maxFrameBytes: 1_000 });
    expect(() => frames.push(Buffer.from([0, 0, 3, 0xe9]), () => undefined)).toThrow(
      expect.objectContaining({ kind: "too_large", bytes: 1_001 }),
    );
  });

  it("takes text for what it is", () => {
    expect(() => new ProtobufFrames().push(Buffer.from('{"type":'), () => undefined)).toThrow(
      expect.objectContaining({ kind: "invalid_protobuf" }),
    );
  });

  it("says that a stream ended inside a frame", () => {
    const frames = new ProtobufFrames();
    frames.push(Buffer.from([0, 0, 0, 9, 1, 2]), () => undefined);
    expect(() => frames.end()).toThrow(expect.objectContaining({ kind: "truncated", bytes: 6 }));
  });
});

const PROTOBUF = "application/vnd.kubernetes.protobuf";
const WATCH = { "content-type": `${PROTOBUF};stream=watch` };
const JSON_TYPE = { "content-type": "application/json" };

const pod = (name: string, resourceVersion = "5") => ({
  kind: "Pod",
  apiVersion: "v1",
  metadata: { name, namespace: "ns", uid: `uid-${name}`, resourceVersion },
});
const bookmark = {
  type: "BOOKMARK",
  object: { ...pod(""), metadata: { resourceVersion: "9", annotations: { "k8s.io/initial-events-end": "true" } } },
};
const added = (name: string) => ({ type: "ADDED", object: pod(name) });
type Event = { type: string; object: object };
const frame = ({ type, object }: Event) => frameProtobuf(type, { kind: "Pod", apiVersion: "v1" }, object);

interface Asked {
  isList: boolean;
  isStreamingList: boolean;
  isProtobuf: boolean;
}
type Answer = (response: Http2ServerResponse, asked: Asked) => void;

/** A server that answers `usual` when nothing else is scripted; what was asked, in order. */
async function start(answer: Answer, options: Partial<InformerOptions<Pod>> = {}) {
  const asked: Asked[] = [];
  const server = await startApiServer((request: Http2ServerRequest, response) => {
    const { searchParams } = new URL(request.url, "https://server");
    const isList = searchParams.get("watch") !== "true";
    const each: Asked = {
      isList,
      isStreamingList: searchParams.has("sendInitialEvents"),
      isProtobuf: request.headers.accept === `${PROTOBUF}${isList ? "" : ";stream=watch"}, application/json`,
    };
    if (!each.isProtobuf) expect(request.headers.accept).toBe("application/json");
    asked.push(each);
    answer(response, each);
  });
  const cluster = new Cluster({ kubeConfig: server.kubeConfig() });
  const informer = new Informer<Pod>({
    cluster,
    resource: PODS,
    namespaces: ["ns"],
    backoff: { baseMs: 20, maxMs: 100, minIntervalMs: 20 },
    ...options,
  });
  onTestFinished(async () => {
    await informer.stop();
    await cluster.close();
    await server.close();
  });
  const problems: Error[] = [];
  informer.onWatch(({ error }) => {
    if (error !== null) problems.push(error);
  });
  informer.start();
  await informer.whenSynced(AbortSignal.timeout(60_000)).catch((error) => problems.push(error));
  return { asked, informer, problems };
}

const names = (informer: Informer<Pod>) => informer.list().map(({ metadata }) => metadata.name);

/** All pods as they should be, in the format that was asked for. */
const usual: Answer = (response, { isList, isStreamingList, isProtobuf }) => {
  const events: Event[] = isStreamingList ? [added("a"), added("b"), bookmark] : [];
  const items = [pod("a"), pod("b")];
  if (isList && isProtobuf) {
    response.writeHead(200, { "content-type": PROTOBUF });
    const list = { kind: "PodList", apiVersion: "v1" };
    response.end(listProtobuf(list, { resourceVersion: "9" }, items));
  } else if (isList) {
    response.writeHead(200, JSON_TYPE);
    response.end(JSON.stringify({ kind: "PodList", metadata: { resourceVersion: "9" }, items }));
  } else {
    response.writeHead(200, isProtobuf ? WATCH : JSON_TYPE);
    response.write(
      isProtobuf ? Buffer.concat(events.map(frame)) : events.map((each) => `${JSON.stringify(each)}\n`).join(""),
    );
  }
};
const refusing =
  (code: number): Answer =>
  (response, asked) => {
    if (!asked.isProtobuf) return usual(response, asked);
    response.writeHead(code, JSON_TYPE);
    response.end(JSON.stringify(statusBody(code, "NotAcceptable")));
  };

describe("a server", () => {
  it("that speaks protobuf is read in it: streaming list, pages, watch", async () => {
    const { asked, informer, problems } = await start(usual);
    expect(names(informer)).toEqual(["a", "b"]);
    expect(asked).toEqual([{ isList: false, isStreamingList: true, isProtobuf: true }]);
    const paged = await start((response, each) => {
      if (!each.isStreamingList) return usual(response, each);
      response.writeHead(422, { "content-type": PROTOBUF });
      response.end(statusProtobuf(statusBody(422, "Invalid") as never));
    });
    expect(names(paged.informer)).toEqual(["a", "b"]);
    await status(paged.informer, () => paged.informer.freshness().connected);
    expect(paged.asked.every(({ isProtobuf }) => isProtobuf)).toBe(true);
    expect([...problems, ...paged.problems]).toEqual([]);
  });

  it("that answers in JSON all the same is read as JSON", async () => {
    const { asked, informer, problems } = await start((response, each) =>
      usual(response, { ...each, isProtobuf: false }),
    );
    expect(names(informer)).toEqual(["a", "b"]);
    expect(asked).toHaveLength(1);
    expect(problems).toEqual([]);
  });

  it.each([406, 415])("that refuses protobuf with %i is asked for JSON at once, which is no problem", async (code) => {
    const { asked, informer, problems } = await start(refusing(code), { backoff: {} });
    expect(names(informer)).toEqual(["a", "b"]);
    expect(asked.map(({ isProtobuf }) => isProtobuf)).toEqual([true, false]);
    expect(problems).toEqual([]);
    expect(informer.stats().errors).toBe(0);
  });

  it.each([406, 415])("that refuses a page with %i is asked for it in JSON", async (code) => {
    const { asked, informer } = await start((response, each) => {
      if (each.isStreamingList) {
        response.writeHead(422, JSON_TYPE);
        return response.end(JSON.stringify(statusBody(422, "Invalid")));
      }
      refusing(code)(response, each);
    });
    expect(names(informer)).toEqual(["a", "b"]);
    expect(asked.slice(0, 3).map(({ isList, isProtobuf }) => [isList, isProtobuf])).toEqual([
      [false, true],
      [true, true],
      [true, false],
    ]);
  });

  it.each<[string, Answer]>([
    [
      "a frame that cannot be read",
      (response) => {
        response.writeHead(200, WATCH);
        const broken = frame(added("b"));
        broken.fill(0xff, broken.length - 12);
        response.write(Buffer.concat([frame(added("a")), broken]));
      },
    ],
    [
      "JSON under the name of protobuf",
      (response) => {
        response.writeHead(200, WATCH);
        response.write(`${JSON.stringify(added("a"))}\n`);
      },
    ],
    [
      "a content type that nobody asked for",
      (response) => {
        response.writeHead(200, { "content-type": "application/octet-stream" });
        response.write(frame(added("a")));
      },
    ],
  ])("that sends %s is read as JSON from then on", async (_, broken) => {
    const { asked, informer, problems } = await start((response, each) =>
      each.isProtobuf ? broken(response, each) : usual(response, each),
    );
    expect(names(informer)).toEqual(["a", "b"]);
    expect(asked.map(({ isProtobuf }) => isProtobuf)).toEqual([true, false]);
    expect(problems).toHaveLength(1);
    expect(problems[0]?.name).toMatch(/^(FrameError|WatchProtocolError)$/);
    expect(informer.stats().errors).toBe(1);
  });

  it("whose page cannot be read is asked for the list again, in JSON", async () => {
    const { asked, informer } = await start((response, each) => {
      if (each.isStreamingList) {
        response.writeHead(422, JSON_TYPE);
        return response.end(JSON.stringify(statusBody(422, "Invalid")));
      }
      if (!each.isProtobuf) return usual(response, each);
      response.writeHead(200, { "content-type": PROTOBUF });
      response.end("k8s\0\x12\x05cut");
    });
    expect(names(informer)).toEqual(["a", "b"]);
    expect(asked.filter(({ isProtobuf, isList }) => isProtobuf && isList)).toHaveLength(1);
  });

  it("says in protobuf what it refuses, and why", async () => {
    const { problems } = await start((response) => {
      const forbidden = { ...(statusBody(403, "Forbidden") as object), message: "pods is forbidden: no" };
      response.writeHead(403, { "content-type": PROTOBUF });
      response.end(statusProtobuf(forbidden as never));
    });
    expect(problems[0]).toMatchObject({ name: "ApiError", status: 403, reason: "Forbidden" });
    expect(problems[0]?.message).toContain("pods is forbidden: no");
  });

  it("that ends a watch with 410 in protobuf is listed again", async () => {
    let isFirst = true;
    const { asked, informer } = await start((response, each) => {
      usual(response, each);
      if (!each.isStreamingList || !isFirst) return;
      isFirst = false;
      response.end(frame({ type: "ERROR", object: statusBody(410, "Expired") as object }));
    });
    await status(informer, () => informer.stats().lists === 2 && informer.freshness().connected);
    expect(asked.map(({ isStreamingList, isProtobuf }) => [isStreamingList, isProtobuf])).toEqual([
      [true, true],
      [true, true],
    ]);
    expect(names(informer)).toEqual(["a", "b"]);
  });
});
