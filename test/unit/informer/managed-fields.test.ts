import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { managedFieldsSpan } from "../../../src/engine/informer/managed-fields.ts";
import { JsonLinesDecoder } from "../../../src/engine/transport/index.ts";

const TRACES = new URL("../../fixtures/traces/kubernetes-1.36/", import.meta.url);
const frames: { type: string; object: { metadata: Record<string, unknown> } }[] = readdirSync(TRACES)
  .flatMap((name) => readFileSync(new URL(name, TRACES), "utf8").trim().split("\n"))
  .map((line) => JSON.parse(line))
  .filter(({ type }) => typeof type === "string")
  .map(({ type, object }) => ({ type, object }));

function decode(...lines: unknown[]): unknown[] {
  const decoder = new JsonLinesDecoder({ skip: managedFieldsSpan });
  const values: unknown[] = [];
  const text = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n");
  decoder.push(Buffer.from(`${text}\n`), (value) => values.push(value));
  return values;
}

function without(frame: { object: { metadata: object } }): unknown {
  const copy = structuredClone(frame) as (typeof frames)[number];
  delete copy.object.metadata.managedFields;
  return copy;
}

describe("managedFields", () => {
  it("are left out of every recorded frame, and nothing else is", () => {
    expect(frames.length).toBeGreaterThan(200);
    expect(frames.filter(({ object }) => "managedFields" in object.metadata).length).toBeGreaterThan(200);
    expect(decode(...frames)).toEqual(frames.map(without));
  });

  it("may be talked about in strings", () => {
    const text = ',"managedFields":[{"a":1}]},"spec":{"b":"ü 東京 🚀"}';
    const frameOf = (manager: string) => ({
      type: "MODIFIED",
      object: {
        metadata: {
          name: text,
          annotations: { last: JSON.stringify({ metadata: { managedFields: [text] }, spec: {} }) },
          managedFields: [{ manager, fieldsV1: { "f:spec": { 'k:{"name":"x"}': {}, ".": {} } } }],
        },
        spec: { text },
      },
    });
    expect(decode(frameOf("m"))).toEqual([without(frameOf("m"))]);
    // A bracket inside of them: parsed whole.
    expect(decode(frameOf(text))).toEqual([frameOf(text)]);
  });

  it("of which another server makes something else leave the frame as it is", () => {
    const odd = [
      // Members in another order.
      '{"type":"ADDED","object":{"metadata":{"name":"n","managedFields":[1],"finalizers":["f"]},"spec":{}}}',
      '{"type":"ADDED","object":{"metadata":{"name":"n","managedFields":[1]},"status":{"a":[]},"spec":{}}}',
      '{"x":{"m":{"a":1,"managedFields":[1]}},"y":{"z":{"c":[]},"spec":{"d":1}}}',
      // The frame ends where something is expected to follow.
      '{"a":null,"managedFields":[]}',
    ];
    expect(decode(...odd)).toEqual(odd.map((line) => JSON.parse(line)));
  });

  it("stay where they do not stand as the API server writes them", () => {
    const odd = [
      { type: "ADDED", object: { metadata: { managedFields: [1], name: "first" }, spec: {} } },
      { type: "ADDED", object: { metadata: { name: "last", managedFields: [1] } } },
      { type: "ADDED", object: { metadata: { name: "status", managedFields: [1] }, status: {} } },
      { type: "ADDED", object: { metadata: { name: "n" }, spec: {} } },
    ];
    expect(decode(...odd)).toEqual(odd);
  });

  it("that cannot be cut out leave the frame whole", () => {
    const frame = { a: { b: 1, managedFields: [{ c: { d: [2] }, spec: { e: 3 } }] } };
    expect(decode(frame)).toEqual([frame]);
    const line = '{"a":{"b":1,"managedFields":[{"c":[[2]},"spec":{"e":3}]}}';
    expect(managedFieldsSpan(Buffer.from(line), 0, line.length)).not.toBeNull();
    expect(() => decode(line)).toThrow("is no JSON");
  });
});
