/**
 * Where `managedFields` stand in a frame, to be left out before it is parsed: they are a third of a pod's JSON and nothing reads
 * them (nor those of a pod template), and parsing is most of what a frame costs. Null: parse it all.
 *
 * Found by bytes alone. The API server writes them last in `metadata`, `spec` follows, and they hold no array of their own, so
 * that their first `]` ends them. Strings cannot be taken for any of it: inside of them each quote is escaped. Wherever a frame
 * differs, it is parsed whole: what is cut out is one whole member or, left unbalanced, no JSON.
 */
export function managedFieldsSpan(
  buffer: Buffer,
  from: number,
  to: number,
): readonly [start: number, end: number] | null {
  // Not past the frame: a chunk may hold thousands.
  const frame = buffer.subarray(from, to);
  const start = frame.indexOf(BEGIN);
  if (start === -1) return null;
  const end = frame.indexOf(BRACKET, start + BEGIN.length) + 1;
  if (end === 0 || end + FOLLOWS.length > frame.length) return null;
  return FOLLOWS.compare(frame, end, end + FOLLOWS.length) === 0 ? [from + start, from + end] : null;
}

const BEGIN = Buffer.from(',"managedFields":[');
const BRACKET = 0x5d;
const FOLLOWS = Buffer.from('},"spec":{');
