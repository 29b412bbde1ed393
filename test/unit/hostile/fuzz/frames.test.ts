/** Frames of any JSON through the reader of watches: each value as JSON.parse has it, but for the object's managedFields. */

import { expect, test } from "vitest";
import { managedFieldsSpan } from "../../../../src/engine/informer/managed-fields.ts";
import { FrameError, JsonLinesDecoder } from "../../../../src/engine/transport/index.ts";
import fc from "../../property.ts";
import { fuzz, fuzzTimeoutMs, pieces } from "./fuzz.ts";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** What could be taken for the beginning or the end of managedFields. */
const text = fc.oneof(
  fc.constantFrom(
    ',"managedFields":[',
    '"managedFields":',
    ']},"spec":{',
    '},"spec":{',
    "managedFields",
    '\\"',
    '"',
    "\\",
    "]",
    "[",
    "}",
    "{",
    "]},",
    ",",
    "\n",
    "\u2028",
    "é",
    "🚀",
    "\ud800",
    'v:["a"]',
    'k:{"ip":"[::1]"}',
  ),
  fc.string({ unit: "binary", maxLength: 8 }),
  fc.string({ maxLength: 8 }),
);
const key = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom("managedFields", "spec", "metadata", "object", "template", "status", "a") },
  { weight: 1, arbitrary: text },
);
const json = fc.letrec<{ node: Json }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 7, depthSize: "medium" },
    text,
    fc.constantFrom<Json>(null, true, 0, -1.5e-7, 1e21, [], {}),
    fc.dictionary(key, tie("node"), { maxKeys: 5, noNullPrototype: true }),
    fc.array(tie("node"), { maxLength: 3 }),
  ),
})).node;
const dictionary = fc.dictionary(key, json, { maxKeys: 4, noNullPrototype: true });

const fieldsV1 = fc.letrec<{ node: Json }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4 },
    fc.constant<Json>({}),
    fc.dictionary(fc.oneof(fc.constantFrom("f:spec", "f:metadata", ".", 'k:{"name":"x"}'), text), tie("node"), {
      maxKeys: 3,
      noNullPrototype: true,
    }),
  ),
})).node;
/** Objects as the API server writes them, with anything in each place. */
const object = fc
  .tuple(
    fc.record(
      {
        annotations: fc.dictionary(key, text, { maxKeys: 4, noNullPrototype: true }),
        finalizers: fc.array(text, { maxLength: 2 }),
        ownerReferences: fc.array(fc.dictionary(key, text, { maxKeys: 2, noNullPrototype: true }), { maxLength: 2 }),
      },
      { requiredKeys: [], noNullPrototype: true },
    ),
    fc.array(fc.record({ manager: text, operation: text, fieldsV1 }), { maxLength: 3 }),
    dictionary,
    dictionary,
    dictionary,
  )
  .map(([metadata, managedFields, spec, template, status]) => ({
    kind: "Job",
    metadata: { name: "n", ...metadata, managedFields },
    spec: { ...spec, template: { metadata: template, spec } },
    status,
  }));

function decode(lines: readonly string[], sizes: readonly number[]): Json[] {
  const decoder = new JsonLinesDecoder({ skip: managedFieldsSpan });
  const values: Json[] = [];
  for (const piece of pieces(Buffer.from(`${lines.join("\n")}\n`), sizes)) {
    decoder.push(piece, (value) => values.push(value as Json));
  }
  decoder.end((value) => values.push(value as Json));
  return values;
}

const isObject = (value: Json | undefined): value is { [key: string]: Json } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Texts, so that the order of members, -0 and `__proto__` count too. */
function withoutManagedFields(value: Json): Set<string> {
  const whole = JSON.stringify(value);
  const allowed = new Set([whole]);
  const visit = (each: Json): void => {
    if (Array.isArray(each)) for (const item of each) visit(item);
    if (!isObject(each)) return;
    // One of them, and nowhere else than in a member of an object that has a spec.
    for (const child of Object.values(each)) {
      if (isObject(child) && Array.isArray(child.managedFields) && isObject(each.spec)) {
        // Not by deleting it: that would change the order of members.
        const leave = function (this: unknown, name: string, each: unknown) {
          return this === child && name === "managedFields" ? undefined : each;
        };
        allowed.add(JSON.stringify(value, leave));
      }
      visit(child);
    }
  };
  visit(value);
  return allowed;
}

const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 4000 })), {
  minLength: 1,
  maxLength: 6,
});

test(
  "any JSON: as it is, or without the managedFields of an object that has a spec",
  { timeout: fuzzTimeoutMs() },
  () =>
    fuzz(
      "frames of any JSON",
      fc.property(fc.array(json, { minLength: 1, maxLength: 4 }), sizes, (values, cuts) => {
        const lines = values.map((value) => JSON.stringify(value));
        const got = decode(lines, cuts);
        expect(got.length).toBe(lines.length);
        got.forEach((value, i) => {
          const line = lines[i] ?? "";
          const text = JSON.stringify(value);
          if (text !== line) expect([...withoutManagedFields(JSON.parse(line))]).toContain(text);
        });
      }),
    ),
);

test("events as the API server writes them: without metadata.managedFields, and nothing else is missing", {
  timeout: fuzzTimeoutMs(),
}, () => {
  let left = 0;
  let total = 0;
  return fuzz(
    "events of objects",
    fc.property(fc.array(object, { minLength: 1, maxLength: 4 }), sizes, (objects, cuts) => {
      const events = objects.map((each) => ({ type: "MODIFIED", object: each }));
      const got = decode(
        events.map((each) => JSON.stringify(each)),
        cuts,
      );
      expect(got.length).toBe(events.length);
      got.forEach((value, i) => {
        const event = JSON.parse(JSON.stringify(events[i]));
        total += 1;
        // Parsed whole where they do not look as expected, a `]` in their strings for one.
        if (JSON.stringify(value) === JSON.stringify(event)) return;
        left += 1;
        delete event.object.metadata.managedFields;
        expect(JSON.stringify(value)).toBe(JSON.stringify(event));
      });
    }),
  ).then(() => expect(left / total).toBeGreaterThan(0.1));
});

test("any bytes: values or a FrameError, the same however they are cut", { timeout: fuzzTimeoutMs() }, () => {
  const bytes = fc
    .array(
      fc.oneof(
        fc.uint8Array({ maxLength: 40 }),
        json.map((value) => Buffer.from(`${JSON.stringify(value)}\n`)),
        text.map((each) => Buffer.from(each)),
      ),
      { maxLength: 12 },
    )
    .map((each) => Buffer.concat(each));
  const read = (buffer: Buffer, cuts: readonly number[]) => {
    const decoder = new JsonLinesDecoder({ maxFrameBytes: 500, skip: managedFieldsSpan });
    const seen: unknown[] = [];
    const onValue = (value: unknown, size: number) => void seen.push([value, size]);
    try {
      for (const piece of pieces(buffer, cuts)) decoder.push(piece, onValue);
      decoder.end(onValue);
    } catch (error) {
      expect(error).toBeInstanceOf(FrameError);
      seen.push((error as FrameError).kind);
    }
    return JSON.stringify(seen);
  };
  return fuzz(
    "frames of any bytes",
    fc.property(bytes, sizes, (buffer, cuts) => {
      expect(read(buffer, cuts)).toBe(read(buffer, [buffer.length + 1]));
    }),
  );
});
