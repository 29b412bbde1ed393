/**
 * `kubectl auth can-i` and `auth whoami` send their reviews as Kubernetes protobuf and do not fall back to JSON. These two
 * small messages are read here; nothing else of the format is.
 */

const MAGIC = Buffer.from("k8s\0");

type Message = Map<number, Buffer[]>;

export function isProtobuf(contentType: string | undefined): boolean {
  return contentType?.startsWith("application/vnd.kubernetes.protobuf") ?? false;
}

/** The review as JSON would have it, or `undefined` when the bytes are none. */
export function readReview(bytes: Buffer): Record<string, unknown> | undefined {
  if (!bytes.subarray(0, 4).equals(MAGIC)) return undefined;
  try {
    const raw = parse(bytes.subarray(4)).get(2)?.[0];
    if (raw === undefined) return undefined;
    const spec = parse(raw).get(2)?.[0];
    if (spec === undefined) return { spec: {} };
    const fields = parse(spec);
    const resource = fields.get(1)?.[0];
    const path = fields.get(2)?.[0];
    return {
      spec: {
        ...(resource === undefined
          ? {}
          : {
              resourceAttributes: strings(resource, [
                "namespace",
                "verb",
                "group",
                "version",
                "resource",
                "subresource",
                "name",
              ]),
            }),
        ...(path === undefined ? {} : { nonResourceAttributes: strings(path, ["path", "verb"]) }),
      },
    };
  } catch {
    return undefined;
  }
}

function strings(message: Buffer, names: readonly string[]): Record<string, string> {
  const fields = parse(message);
  const result: Record<string, string> = {};
  names.forEach((name, i) => {
    const value = fields.get(i + 1)?.[0];
    if (value !== undefined && value.length > 0) result[name] = value.toString();
  });
  return result;
}

/** The length-delimited fields by number; others are skipped. Throws `RangeError` on a message that breaks off. */
function parse(bytes: Buffer): Message {
  const message: Message = new Map();
  let position = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes.readUInt8(position++);
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
    }
  };
  while (position < bytes.length) {
    const tag = varint();
    const wire = tag & 7;
    if (wire === 0) varint();
    else if (wire === 1) position += 8;
    else if (wire === 5) position += 4;
    else if (wire === 2) {
      const length = varint();
      if (position + length > bytes.length) throw new RangeError("message breaks off");
      const number = tag >>> 3;
      message.set(number, [...(message.get(number) ?? []), bytes.subarray(position, position + length)]);
      position += length;
    } else throw new RangeError(`unknown wire type ${wire}`);
  }
  return message;
}
