import { FrameError } from "./json-lines.ts";
import { textOf } from "./known-texts.ts";

/**
 * Reads Kubernetes' protobuf by tables. A table names the fields that are wanted; all others are skipped by their length, so
 * that a decoder's depth is that of its tables, whatever the bytes say. What comes out is what the JSON of the same object
 * would have in these fields: Go leaves an empty text or time out of JSON, which protobuf writes all the same.
 */

export const PROTOBUF = "application/vnd.kubernetes.protobuf";

export function isProtobuf(contentType: unknown): boolean {
  return typeof contentType === "string" && /^application\/vnd\.kubernetes\.protobuf\s*(;|$)/i.test(contentType);
}

type Scalar = "text" | "integer" | "count" | "flag" | "time" | "map" | "integers" | "bytes";

/** `count`: an integer that JSON leaves out where it is 0. */
type FieldType = Scalar | MessageTable | readonly [repeated: MessageTable];

interface Field {
  name: string;
  type: Scalar | "message";
  table: MessageTable;
  isRepeated: boolean;
}

/** By field number. */
export type MessageTable = readonly (Field | undefined)[];

/** @param fields name and type by field number, as in `generated.proto` of the API group */
export function messageTable(fields: Readonly<Record<number, readonly [name: string, type: FieldType]>>): MessageTable {
  const table: (Field | undefined)[] = [];
  for (const [number, [name, type]] of Object.entries(fields)) {
    const isScalar = typeof type === "string";
    const isRepeated = !isScalar && type.length === 1 && Array.isArray(type[0]);
    const inner = (isScalar ? [] : isRepeated ? type[0] : type) as MessageTable;
    table[Number(number)] = { name, type: isScalar ? type : "message", table: inner, isRepeated };
  }
  // No holes: an array with holes is looked up more slowly.
  return Array.from(table);
}

type Message = Record<string, unknown>;

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const FIXED32 = 5;

/** Why the bytes are no message of the table; becomes a `FrameError`, which knows the frame. */
class Malformed extends Error {}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /**
   * From `from` to `end`, into `into` where the field stood before: Go merges the two as well. Positions are cut to 32 bits: V8
   * calculates in doubles with what `#varint` returns, and each byte is then found more slowly.
   */
  message(table: MessageTable, from: number, end: number, into: Message = {}): Message {
    const bytes = this.#bytes;
    let at = from;
    while (at < end) {
      let tag = bytes[at] as number;
      if (tag < 0x80) at += 1;
      else {
        const wide = this.#varint(at, end);
        at = this.#at;
        // Beyond 32 bits there is no number of a field.
        tag = wide >= 0 && wide <= 0xffff_ffff ? wide | 0 : 0;
      }
      const wire = tag & 7;
      const number = tag >>> 3;
      if (number === 0) throw new Malformed("a field has the number 0, or one too large");
      const field = number < table.length ? table[number] : undefined;
      if (wire === DELIMITED) {
        let length = at < end ? (bytes[at] as number) : 0x80;
        if (length < 0x80) at += 1;
        else {
          const wide = this.#varint(at, end);
          at = this.#at;
          length = wide <= end - at ? wide | 0 : -1;
        }
        if (length < 0 || length > end - at) throw new Malformed("a field is longer than its message");
        if (field !== undefined) this.#delimited(field, at, at + length, into);
        at += length;
      } else if (wire === VARINT) {
        const value = this.#varint(at, end);
        at = this.#at;
        if (field !== undefined) this.#number(field, value, into);
      } else if (field !== undefined) throw new Malformed(`${field.name} has the wire type ${wire}`);
      else if (wire === FIXED64) at += 8;
      else if (wire === FIXED32) at += 4;
      // Groups have no length. proto2 gave them up, and Kubernetes has none.
      else throw new Malformed(`a field has the wire type ${wire}`);
    }
    if (at > end) throw new Malformed("a field is longer than its message");
    return into;
  }

  #delimited(field: Field, from: number, stop: number, into: Message): void {
    const { name, type } = field;
    switch (type) {
      case "text":
        if (stop > from) into[name] = textOf(this.#bytes, from, stop);
        break;
      case "message":
        if (field.isRepeated) this.#list(into, name).push(this.message(field.table, from, stop));
        else into[name] = this.message(field.table, from, stop, into[name] as Message | undefined);
        break;
      case "time":
        if (stop > from) into[name] = this.#time(from, stop);
        break;
      case "map":
        this.#entry(from, stop, into, name);
        break;
      case "integers":
        for (let at = from; at < stop; at = this.#at) this.#list(into, name).push(this.#varint(at, stop));
        break;
      case "bytes":
        into[name] = this.#bytes.subarray(from, stop);
        break;
      default:
        throw new Malformed(`${name} has the wire type ${DELIMITED}`);
    }
  }

  #number({ name, type }: Field, value: number, into: Message): void {
    if (type === "integer") into[name] = value;
    else if (type === "count") {
      if (value !== 0) into[name] = value;
    } else if (type === "flag") into[name] = value !== 0;
    else if (type === "integers") this.#list(into, name).push(value);
    else throw new Malformed(`${name} has the wire type ${VARINT}`);
  }

  #list(into: Message, name: string): unknown[] {
    const known = into[name] as unknown[] | undefined;
    if (known !== undefined) return known;
    const list: unknown[] = [];
    into[name] = list;
    return list;
  }

  #entry(from: number, stop: number, into: Message, name: string): void {
    const { key = "", value = "" } = this.message(ENTRY, from, stop) as { key?: string; value?: string };
    into[name] ??= {};
    (into[name] as Record<string, string>)[key] = value;
  }

  /** Nanoseconds are not read: Kubernetes' JSON has none, and neither has its Go decoder. */
  #time(from: number, stop: number): string {
    const { seconds = 0 } = this.message(TIMESTAMP, from, stop) as { seconds?: number };
    const known = times.get(seconds);
    if (known !== undefined) return known;
    if (seconds < FIRST_SECOND || seconds > LAST_SECOND) throw new Malformed(`a time of ${seconds} s`);
    const text = `${new Date(seconds * 1_000).toISOString().slice(0, 19)}Z`;
    if (times.size >= MAX_TIMES) times.clear();
    times.set(seconds, text);
    return text;
  }

  /** Signed, as int32 and int64 are; exact to 2^53. Leaves where it ended in `#at`. */
  #varint(from: number, end: number): number {
    const bytes = this.#bytes;
    let low = 0;
    let high = 0;
    let at = from;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= end) throw new Malformed("a number breaks off");
      const byte = bytes[at] as number;
      at += 1;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else if (shift < 63) high |= bits << (shift - 32);
      else high |= (bits & 1) << 31;
      if (byte < 0x80) {
        this.#at = at;
        return high * 0x1_0000_0000 + (low >>> 0);
      }
    }
    throw new Malformed("a number has more than ten bytes");
  }
}

const ENTRY = messageTable({ 1: ["key", "text"], 2: ["value", "text"] });
const TIMESTAMP = messageTable({ 1: ["seconds", "integer"] });
/** Of the years that RFC 3339 can write. */
const FIRST_SECOND = -62_135_596_800;
const LAST_SECOND = 253_402_300_799;
/** The few moments of a pod's life stand in each of its frames, and in its neighbours'. Emptied when full. */
const times = new Map<number, string>();
const MAX_TIMES = 4_096;

/** `WatchEvent`, whose `object` is a `RawExtension`. */
const EVENT = messageTable({ 1: ["type", "text"], 2: ["object", messageTable({ 1: ["raw", "bytes"] })] });
const TYPE = messageTable({ 1: ["apiVersion", "text"], 2: ["kind", "text"] });
/** `runtime.Unknown`, behind the magic bytes. */
const ENVELOPE = messageTable({
  1: ["type", TYPE],
  2: ["raw", "bytes"],
  3: ["contentEncoding", "text"],
  4: ["contentType", "text"],
});
const MAGIC = Buffer.from("k8s\0");
const STATUS = messageTable({
  2: ["status", "text"],
  3: ["message", "text"],
  4: ["reason", "text"],
  5: [
    "details",
    messageTable({
      1: ["name", "text"],
      2: ["group", "text"],
      3: ["kind", "text"],
      4: ["causes", [messageTable({ 1: ["reason", "text"], 2: ["message", "text"], 3: ["field", "text"] })]],
      5: ["retryAfterSeconds", "count"],
      6: ["uid", "text"],
    }),
  ],
  6: ["code", "count"],
});

/** The kinds of object that an answer may hold. */
export type Kinds = Readonly<Record<string, MessageTable>>;

/** One object behind the magic bytes. A `Status` may stand in place of any. @throws FrameError */
export function readObject(bytes: Buffer, kinds: Kinds): Message {
  return guarded(bytes, () => object(bytes, kinds));
}

/** One event of a watch: its type and object. @throws FrameError */
export function readEvent(bytes: Buffer, kinds: Kinds): { type: string; object: Message } {
  return guarded(bytes, () => {
    const event = new Reader(bytes).message(EVENT, 0, bytes.length) as { type?: string; object?: { raw?: Buffer } };
    if (event.type === undefined || event.object?.raw === undefined) throw new Malformed("it has no type or no object");
    return { type: event.type, object: object(event.object.raw, kinds) };
  });
}

function object(bytes: Buffer, kinds: Kinds): Message {
  if (bytes.length < MAGIC.length || MAGIC.compare(bytes, 0, MAGIC.length) !== 0)
    throw new Malformed("it does not begin as Kubernetes' protobuf does");
  const envelope = new Reader(bytes).message(ENVELOPE, MAGIC.length, bytes.length);
  const { kind = "", apiVersion } = (envelope.type ?? {}) as { kind?: string; apiVersion?: string };
  const table = kind === "Status" ? STATUS : Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
  if (table === undefined) throw new Malformed(`it holds a ${JSON.stringify(kind)}`);
  if (envelope.contentEncoding !== undefined || envelope.contentType !== undefined)
    throw new Malformed("its object is encoded in another way");
  const raw = (envelope.raw ?? NOTHING) as Buffer;
  return new Reader(raw).message(table, 0, raw.length, { kind, apiVersion });
}

const NOTHING = Buffer.alloc(0);

function guarded<T>(bytes: Buffer, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    const what = `${bytes.length} bytes of protobuf cannot be read (${error.message})`;
    throw new FrameError("invalid_protobuf", bytes.length, bytes.toString("hex", 0, 40), what);
  }
}

/** The JSON of an error's body, which comes in the format that was asked for. */
export function statusText(contentType: unknown, body: Buffer): string {
  if (!isProtobuf(contentType)) return body.toString("utf8");
  try {
    return JSON.stringify(readObject(body, {}));
  } catch {
    return "";
  }
}
