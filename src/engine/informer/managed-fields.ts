/**
 * Where `managedFields` stand in a frame, to be left out before it is parsed: they are a third of a pod's JSON and nobody
 * reads them, and parsing is most of what a frame costs. Null: parse it all.
 *
 * Found by bytes alone, which is safe: the API server writes them last in `metadata`, `spec` follows, and inside of them no
 * key is `spec` (those of `fieldsV1` begin with `f:`, `k:`, `v:` or `.`), while in strings every quote is escaped.
 */
export function managedFieldsSpan(
  buffer: Buffer,
  from: number,
  to: number,
): readonly [start: number, end: number] | null {
  const frame = buffer.subarray(from, to);
  const start = frame.indexOf(BEGIN);
  if (start === -1) return null;
  const end = frame.indexOf(END, start + BEGIN.length - 1);
  return end === -1 ? null : [from + start, from + end + 1];
}

const BEGIN = Buffer.from(',"managedFields":[');
/** The array's own bracket comes first. */
const END = Buffer.from(']},"spec":{');
