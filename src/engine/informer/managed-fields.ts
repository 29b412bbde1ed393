/**
 * Where the object's `managedFields` stand in a frame, to be left out before it is parsed: they are a third of a pod's JSON and
 * nobody reads them, and parsing is most of what a frame costs. Null: parse it all.
 *
 * Found by bytes alone. The API server writes them last in the object's `metadata`, before its `spec`, and they hold no array of
 * their own, so that their first `]` ends them. Strings cannot be taken for any of it: inside of them each quote is escaped.
 * Wherever a frame differs, it is parsed whole: what is cut out is one whole member or, left unbalanced, no JSON.
 */
export function managedFieldsSpan(
  buffer: Buffer,
  from: number,
  to: number,
): readonly [start: number, end: number] | null {
  const frame = buffer.subarray(from, to);
  const start = frame.indexOf(BEGIN);
  if (start === -1) return null;
  const end = frame.indexOf(BRACKET, start + BEGIN.length) + 1;
  if (end === 0 || !FOLLOWS.equals(frame.subarray(end, end + FOLLOWS.length))) return null;
  // Those of a pod template stand inside a `spec`.
  const spec = frame.indexOf(SPEC);
  return spec < start ? null : [from + start, from + end];
}

const BEGIN = Buffer.from(',"managedFields":[');
const BRACKET = 0x5d;
const SPEC = Buffer.from('"spec":');
const FOLLOWS = Buffer.from('},"spec":{');
