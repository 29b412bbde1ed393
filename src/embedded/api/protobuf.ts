import { DELIMITED, fieldsOf, ProtobufWriter } from "./protobuf-writer.ts";

/** Writes what the API answers as Kubernetes' protobuf, for clients that ask for it: lists and watches of Jobs and pods, and errors. */

const MEDIA_TYPE = "application/vnd.kubernetes.protobuf";

/** The first type that the client names and this server speaks decides. */
export function wantsProtobuf(accept: string | undefined): boolean {
  for (const clause of accept?.split(",") ?? []) {
    const [type] = clause.split(";");
    if (type?.trim() === MEDIA_TYPE) return true;
    if (type?.trim() === "application/json" || type?.trim() === "*/*") return false;
  }
  return false;
}

export const PROTOBUF_HEADERS = { "cache-control": "no-cache, private", "content-type": MEDIA_TYPE };
export const PROTOBUF_WATCH_HEADERS = { ...PROTOBUF_HEADERS, "content-type": `${MEDIA_TYPE};stream=watch` };

const MAGIC = Buffer.from("k8s\0");

interface Typed {
  kind: string;
  apiVersion: string;
}

/** Of all objects and envelopes, one after the other. */
const shared = new ProtobufWriter();

function encoded(message: string, object: object): Buffer {
  shared.begin().message(fieldsOf(message), object as Record<string, unknown>);
  return shared.done();
}

/** The fields of `runtime.Unknown` that follow its object: no contentEncoding, no contentType. */
const ENVELOPE_END = Buffer.from([3 * 8 + DELIMITED, 0, 4 * 8 + DELIMITED, 0]);

/** Begins with what stands in front of an object: the magic bytes, and the fields of `runtime.Unknown` before it. */
function envelope({ kind, apiVersion }: Typed, object: Buffer): ProtobufWriter {
  const writer = shared.begin(object.length + ENVELOPE_END.length);
  writer.head(2, object.length);
  const { size } = writer;
  writer.text(2, kind);
  writer.text(1, apiVersion);
  writer.head(1, writer.size - size);
  writer.raw(MAGIC);
  return writer;
}

function enveloped(typed: Typed, object: Buffer): Buffer {
  return Buffer.concat([envelope(typed, object).done(), object, ENVELOPE_END]);
}

export function statusProtobuf(status: Typed): Buffer {
  return enveloped(status, encoded("Status", status));
}

const cache = new WeakMap<object, Buffer>();

/** An object without its envelope. Each version is encoded once for all watches and lists that send it. */
function itemProtobuf(kind: string, object: object): Buffer {
  let item = cache.get(object);
  if (item === undefined) {
    item = encoded(kind, object);
    cache.set(object, item);
  }
  return item;
}

export function listProtobuf(list: Typed, metadata: object, items: readonly object[]): Buffer {
  const kind = list.kind.replace(/List$/, "");
  const writer = new ProtobufWriter();
  for (let at = items.length - 1; at >= 0; at -= 1) {
    const item = itemProtobuf(kind, items[at] as object);
    writer.raw(item);
    writer.head(2, item.length);
  }
  const { size } = writer;
  writer.message(fieldsOf("ListMeta"), metadata as Record<string, unknown>);
  writer.head(1, writer.size - size);
  return enveloped(list, writer.done());
}

export function frameProtobuf(type: string, typed: Typed, object: object): Buffer {
  return Buffer.concat(framePieces(type, typed, object));
}

/** One event of a watch, behind its length, in pieces: the object's own bytes are the same for all watches. */
export function framePieces(type: string, typed: Typed, object: object): Buffer[] {
  const { kind, apiVersion } = type === "ERROR" ? (object as Typed) : typed;
  const bytes = itemProtobuf(kind, object);
  const writer = envelope({ kind, apiVersion }, bytes);
  writer.head(1, writer.size);
  writer.head(2, writer.size);
  writer.text(1, type);
  writer.sizePrefix();
  return [writer.done(), bytes, ENVELOPE_END];
}
