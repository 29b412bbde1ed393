import { MESSAGES } from "./protobuf-messages.ts";

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

interface Field {
  number: number;
  name: string;
  /** "" = text */
  type: string;
  form: "" | "*" | "%" | "+";
}

let parsed: ReadonlyMap<string, readonly Field[]> | undefined;

/** The last field of each message first. */
function messages(): ReadonlyMap<string, readonly Field[]> {
  parsed ??= new Map(
    MESSAGES.trim()
      .split("\n")
      .map((line) => {
        const [message = "", ...fields] = line.split(" ");
        return [message, fields.map(parseField).reverse()];
      }),
  );
  return parsed;
}

function parseField(text: string): Field {
  const [, number, form = "", name = "", type = ""] = /^(\d+)([*%+]?)(\w+):?(\w*)$/.exec(text) ?? [];
  return { number: Number(number), form: form as Field["form"], name, type };
}

const VARINT = 0;
const DELIMITED = 2;

/** Writes from the end to the beginning, so that the length of each message is known when its turn comes. */
class Writer {
  #buffer = Buffer.allocUnsafe(8 * 1024);
  /** Where the next byte goes, in front of those written; counted from the end. */
  #size = 0;

  message(name: string, value: Record<string, unknown>): void {
    for (const field of messages().get(name) ?? []) {
      const inner = field.form === "+" ? value : value[field.name];
      if (inner !== undefined && inner !== null) this.#field(field, inner);
    }
  }

  bytes(number: number, bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#buffer.length - this.#size);
    this.#head(number, bytes.length);
  }

  text(number: number, text: string): void {
    const length = Buffer.byteLength(text);
    this.#reserve(length);
    this.#buffer.write(text, this.#buffer.length - this.#size);
    this.#head(number, length);
  }

  integer(number: number, value: number): void {
    this.#varint(value);
    this.#varint(number * 8 + VARINT);
  }

  within(number: number, write: () => void): void {
    const before = this.#size;
    write();
    this.#head(number, this.#size - before);
  }

  done(): Buffer {
    return Buffer.from(this.#buffer.subarray(this.#buffer.length - this.#size));
  }

  #field({ number, name, type, form }: Field, value: unknown): void {
    if (form === "*") {
      const items = value as unknown[];
      for (let at = items.length - 1; at >= 0; at -= 1) this.#field({ number, name, type, form: "" }, items[at]);
    } else if (form === "%") {
      for (const [key, each] of Object.entries(value as object).sort(byKeyBackwards)) {
        this.within(number, () => {
          this.#field({ number: 2, name: key, type, form: "" }, each);
          this.text(1, key);
        });
      }
    } else if (type === "") this.text(number, String(value));
    else if (type === "int") this.integer(number, Number(value));
    else if (type === "bool") this.integer(number, value === true ? 1 : 0);
    else if (type === "Time")
      this.within(number, () => this.integer(1, Math.floor(Date.parse(value as string) / 1_000)));
    else if (type === "Quantity") this.within(number, () => this.text(1, String(value)));
    else if (type === "FieldsV1") this.within(number, () => this.text(1, JSON.stringify(value)));
    else if (type === "IntOrString") {
      const isText = typeof value === "string";
      this.within(number, () => {
        if (isText) this.text(3, value);
        else this.integer(2, Number(value));
        this.integer(1, isText ? 1 : 0);
      });
    } else this.within(number, () => this.message(type, value as Record<string, unknown>));
  }

  #head(number: number, length: number): void {
    this.#varint(length);
    this.#varint(number * 8 + DELIMITED);
  }

  #varint(value: number): void {
    let length = 1;
    for (let limit = 0x80; value < 0 ? length < 10 : value >= limit; limit *= 0x80) length += 1;
    this.#reserve(length);
    let at = this.#buffer.length - this.#size;
    if (value >= 0) {
      for (let rest = value; length > 0; length -= 1, rest = Math.floor(rest / 0x80))
        this.#buffer[at++] = (rest & 0x7f) | (length > 1 ? 0x80 : 0);
      return;
    }
    // Two's complement of 64 bits.
    for (let rest = BigInt.asUintN(64, BigInt(value)); length > 0; length -= 1, rest >>= 7n)
      this.#buffer[at++] = Number(rest & 0x7fn) | (length > 1 ? 0x80 : 0);
  }

  #reserve(bytes: number): void {
    this.#size += bytes;
    if (this.#size <= this.#buffer.length) return;
    const old = this.#buffer;
    this.#buffer = Buffer.allocUnsafe(2 * this.#size);
    old.copy(this.#buffer, this.#buffer.length - old.length);
  }
}

function byKeyBackwards([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? 1 : -1;
}

const MAGIC = Buffer.from("k8s\0");

interface Typed {
  kind: string;
  apiVersion: string;
}

/** Behind the magic bytes: `runtime.Unknown`. */
function enveloped({ kind, apiVersion }: Typed, raw: Buffer): Buffer {
  const writer = new Writer();
  writer.text(4, "");
  writer.text(3, "");
  writer.bytes(2, raw);
  writer.within(1, () => {
    writer.text(2, kind);
    writer.text(1, apiVersion);
  });
  return Buffer.concat([MAGIC, writer.done()]);
}

function encoded(message: string, object: object): Buffer {
  const writer = new Writer();
  writer.message(message, object as Record<string, unknown>);
  return writer.done();
}

export function statusProtobuf(status: Typed): Buffer {
  return enveloped(status, encoded("Status", status));
}

const cache = new WeakMap<Buffer, Buffer>();

/** Of an object's JSON, without its envelope. Each is encoded once for all watches that send it. */
function itemProtobuf(kind: string, json: Buffer): Buffer {
  const known = cache.get(json);
  if (known !== undefined) return known;
  const made = encoded(kind, JSON.parse(json.toString()) as object);
  cache.set(json, made);
  return made;
}

export function listProtobuf(list: Typed, metadata: object, items: readonly Buffer[]): Buffer {
  const writer = new Writer();
  for (let at = items.length - 1; at >= 0; at -= 1)
    writer.bytes(2, itemProtobuf(list.kind.replace(/List$/, ""), items[at] as Buffer));
  writer.within(1, () => writer.message("ListMeta", metadata as Record<string, unknown>));
  return enveloped(list, writer.done());
}

/** One event of a watch, behind its length. */
export function frameProtobuf(type: string, { kind, apiVersion }: Typed, json: Buffer): Buffer {
  const object =
    type === "ERROR"
      ? statusProtobuf(JSON.parse(json.toString()) as Typed)
      : enveloped({ kind, apiVersion }, itemProtobuf(kind, json));
  const writer = new Writer();
  writer.within(2, () => writer.bytes(1, object));
  writer.text(1, type);
  const frame = writer.done();
  const length = Buffer.alloc(4);
  length.writeUInt32BE(frame.length);
  return Buffer.concat([length, frame]);
}
