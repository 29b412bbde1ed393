/** Distinguished Encoding Rules (X.690), as much as a certificate needs. */

export function tagged(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(contents);
  return Buffer.concat([Buffer.from([tag, ...lengthOf(body.length)]), body]);
}

/** Below 128 one byte; else the number of bytes, and the bytes. */
function lengthOf(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest >>>= 8) bytes.unshift(rest & 0xff);
  return [0x80 | bytes.length, ...bytes];
}

export const sequence = (...items: readonly Uint8Array[]) => tagged(0x30, ...items);
export const set = (...items: readonly Uint8Array[]) => tagged(0x31, ...items);
export const octets = (bytes: Uint8Array) => tagged(0x04, bytes);
export const utf8 = (text: string) => tagged(0x0c, Buffer.from(text));
export const TRUE = tagged(0x01, Buffer.from([0xff]));

/** A positive one: a first byte above 127 would be read as a sign. */
export function integer(bytes: Uint8Array): Buffer {
  const [first = 0] = bytes;
  return first < 0x80 ? tagged(0x02, bytes) : tagged(0x02, Buffer.from([0]), bytes);
}

export function bits(bytes: Uint8Array, unused = 0): Buffer {
  return tagged(0x03, Buffer.from([unused]), bytes);
}

/** `1.2.840.10045.4.3.2` in base 128, the first two numbers in one. */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap((number) => {
    const group = [number & 0x7f];
    for (let left = number >>> 7; left > 0; left >>>= 7) group.unshift(0x80 | (left & 0x7f));
    return group;
  });
  return tagged(0x06, Buffer.from(bytes));
}

/** RFC 5280, 4.1.2.5: two digits of the year until 2049, four from 2050. */
export function time(date: Date): Buffer {
  const digits = `${date.toISOString().replace(/[-:T]|\.\d+/g, "")}`;
  return date.getUTCFullYear() < 2050 ? tagged(0x17, Buffer.from(digits.slice(2))) : tagged(0x18, Buffer.from(digits));
}
