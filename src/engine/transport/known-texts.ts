/**
 * Texts that were read before, by a hash of their bytes. Most texts of an object stand in its next frame, too, and to compare
 * bytes costs less than to make a string. A slot holds the last text that fell into it; all of them hold 1 MB at most.
 */
const SLOT_BITS = 13;
const SLOTS = 1 << SLOT_BITS;
const MAX_BYTES = 64;
const texts: string[] = new Array(SLOTS).fill("");
const lengths = new Uint8Array(SLOTS);
const kept = new Uint8Array(SLOTS * MAX_BYTES);

/** What `bytes.toString("utf8", from, stop)` returns. */
export function textOf(bytes: Buffer, from: number, stop: number): string {
  const length = stop - from;
  if (length > MAX_BYTES) return bytes.toString("utf8", from, stop);
  const slot = slotOf(bytes, from, stop);
  const start = slot * MAX_BYTES;
  let isKnown = lengths[slot] === length;
  for (let at = 0; isKnown && at < length; at += 1) isKnown = kept[start + at] === bytes[from + at];
  if (isKnown) return texts[slot] as string;
  const text = bytes.toString("utf8", from, stop);
  texts[slot] = text;
  lengths[slot] = length;
  for (let at = 0; at < length; at += 1) kept[start + at] = bytes[from + at] as number;
  return text;
}

/** By the first byte, the middle one and the last eight: names and ids differ at their ends. */
function slotOf(bytes: Buffer, from: number, stop: number): number {
  let hash = stop - from;
  hash = (Math.imul(hash, 31) + (bytes[from] as number)) | 0;
  hash = (Math.imul(hash, 31) + (bytes[(from + stop) >>> 1] as number)) | 0;
  for (let at = Math.max(from, stop - 8); at < stop; at += 1) hash = (Math.imul(hash, 31) + (bytes[at] as number)) | 0;
  return Math.imul(hash, 0x9e37_79b1) >>> (32 - SLOT_BITS);
}
