import { MESSAGES } from "./protobuf-messages.ts";

/** Writes one value as the field, after what follows it. */
type Write = (writer: ProtobufWriter, value: unknown) => void;

interface Field {
  name: string;
  write: Write;
  /** Its fields stand in the JSON of the message itself. */
  isInline: boolean;
}

/** By the name of the message; the last field first. */
let parsed: ReadonlyMap<string, readonly Field[]> | undefined;

/** Empty for a message that is not in the table. */
export function fieldsOf(message: string): readonly Field[] {
  parsed ??= new Map(
    MESSAGES.trim()
      .split("\n")
      .map((line) => {
        const [name = "", ...fields] = line.split(" ");
        return [name, fields.map(parseField).reverse()];
      }),
  );
  return parsed.get(message) ?? [];
}

function parseField(text: string): Field {
  const [, number, form = "", name = "", type = ""] = /^(\d+)([*%+]?)(\w+):?(\w*)$/.exec(text) ?? [];
  const one = writeOf(Number(number), type);
  const write = form === "*" ? repeated(one) : form === "%" ? mapped(Number(number), writeOf(2, type)) : one;
  return { name, write, isInline: form === "+" };
}

function writeOf(number: number, type: string): Write {
  switch (type) {
    case "":
      return (writer, value) => writer.text(number, String(value));
    case "int":
      return (writer, value) => writer.integer(number, Number(value));
    case "bool":
      return (writer, value) => writer.integer(number, value === true ? 1 : 0);
    case "Time":
      return within(number, (writer, value) => writer.integer(1, Math.floor(Date.parse(value as string) / 1_000)));
    case "Quantity":
      return within(number, (writer, value) => writer.text(1, String(value)));
    case "FieldsV1":
      return within(number, (writer, value) => writer.text(1, JSON.stringify(value)));
    case "IntOrString":
      return within(number, (writer, value) => {
        const isText = typeof value === "string";
        if (isText) writer.text(3, value);
        else writer.integer(2, Number(value));
        writer.integer(1, isText ? 1 : 0);
      });
    default: {
      let fields: readonly Field[] | undefined;
      return within(number, (writer, value) => {
        fields ??= fieldsOf(type);
        writer.message(fields, value as Record<string, unknown>);
      });
    }
  }
}

function within(number: number, write: Write): Write {
  return (writer, value) => {
    const before = writer.size;
    write(writer, value);
    writer.head(number, writer.size - before);
  };
}

function repeated(write: Write): Write {
  return (writer, value) => {
    const items = value as unknown[];
    for (let at = items.length - 1; at >= 0; at -= 1) write(writer, items[at]);
  };
}

function mapped(number: number, writeValue: Write): Write {
  const writeEntry = within(number, (writer, entry) => {
    const [key, value] = entry as [string, unknown];
    writeValue(writer, value);
    writer.text(1, key);
  });
  return (writer, value) => {
    // JSON has no such key either.
    for (const entry of Object.entries(value as object).sort(byKeyBackwards))
      if (entry[1] !== undefined) writeEntry(writer, entry);
  };
}

function byKeyBackwards([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? 1 : -1;
}

const VARINT = 0;
export const DELIMITED = 2;

/** A short text costs less in a loop than two calls of Node's, unless it has more than ASCII. */
const MAX_LOOP = 48;

/**
 * Writes from the end to the beginning, so that the length of each message is known when its turn comes. It is made to
 * be used again: memory for each object would cost as much as writing it.
 */
export class ProtobufWriter {
  #buffer = Buffer.allocUnsafe(16 * 1024);
  /** Where the first of the bytes stands that are written. */
  #at = this.#buffer.length;
  #behind = 0;

  /** Of all bytes from here to the end. */
  get size(): number {
    return this.#buffer.length - this.#at + this.#behind;
  }

  /** Begins, in front of so many bytes that are there already. */
  begin(behind = 0): this {
    this.#at = this.#buffer.length;
    this.#behind = behind;
    return this;
  }

  /** What was written since. */
  done(): Buffer {
    const bytes = Buffer.allocUnsafe(this.#buffer.length - this.#at);
    this.#buffer.copy(bytes, 0, this.#at);
    return bytes;
  }

  message(fields: readonly Field[], value: Record<string, unknown>): void {
    for (let at = 0; at < fields.length; at += 1) {
      const { name, write, isInline } = fields[at] as Field;
      const inner = isInline ? value : value[name];
      if (inner !== undefined && inner !== null) write(this, inner);
    }
  }

  text(number: number, text: string): void {
    this.head(number, this.#ascii(text) ? text.length : this.#utf8(text));
  }

  /** False, with nothing written: it is longer than that, or has more than ASCII. */
  #ascii(text: string): boolean {
    const { length } = text;
    if (length > MAX_LOOP) return false;
    this.#reserve(length);
    const from = this.#at;
    for (let index = 0; index < length; index += 1) {
      const code = text.charCodeAt(index);
      if (code >= 0x80) {
        this.#at += length;
        return false;
      }
      this.#buffer[from + index] = code;
    }
    return true;
  }

  #utf8(text: string): number {
    const length = Buffer.byteLength(text);
    this.#reserve(length);
    this.#buffer.write(text, this.#at, length);
    return length;
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#at);
  }

  integer(number: number, value: number): void {
    this.#varint(value);
    this.#varint(number * 8 + VARINT);
  }

  /** Of a field whose bytes, as many as this, are written already. */
  head(number: number, length: number): void {
    this.#varint(length);
    this.#varint(number * 8 + DELIMITED);
  }

  /** The size, as four bytes. */
  sizePrefix(): void {
    const { size } = this;
    this.#reserve(4);
    this.#buffer.writeUInt32BE(size, this.#at);
  }

  #varint(value: number): void {
    if (value >= 0 && value < 0x80) {
      this.#reserve(1);
      this.#buffer[this.#at] = value;
      return;
    }
    let length = 1;
    for (let limit = 0x80; value < 0 ? length < 10 : value >= limit; limit *= 0x80) length += 1;
    this.#reserve(length);
    let at = this.#at;
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
    this.#at -= bytes;
    if (this.#at >= 0) return;
    const old = this.#buffer;
    this.#buffer = Buffer.allocUnsafe(2 * (old.length - this.#at));
    const grown = this.#buffer.length - old.length;
    old.copy(this.#buffer, grown);
    this.#at += grown;
  }
}
