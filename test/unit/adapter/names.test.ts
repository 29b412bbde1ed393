import { describe, expect, test } from "vitest";
import { jobNameFor, sanitizeLabelValue, slug } from "../../../src/adapter/job/names.ts";
import { isLabelKey, isLabelValue } from "../../../src/kubernetes-names.ts";

describe("names of the adapter of old, to the letter", () => {
  test("job names", () => {
    expect(jobNameFor("ac", "agent-1", "run-1")).toBe("ac-agent-1-run-1-0ec508");
    expect(jobNameFor("ac", "550e8400-e29b-41d4-a716-446655440000", "6ba7b810-9dad-11d1-80b4-00c04fd430c8")).toBe(
      "ac-550e8400-e29b-41-6ba7b810-9dad-11-d34fed",
    );
  });

  test("job names of UUIDs are at most 43 characters and valid", () => {
    const name = jobNameFor("ac", "550e8400-e29b-41d4-a716-446655440000", "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    expect(name.length).toBeLessThanOrEqual(43);
    expect(name).toMatch(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
  });

  test("runs whose slugs are the same have different names", () => {
    expect(jobNameFor("ac", "a", "6ba7b810-9dad-11d1-1")).not.toBe(jobNameFor("ac", "a", "6ba7b810-9dad-11d1-2"));
  });

  test.each([
    ["Agent One!", "agentone"],
    ["a".repeat(30), "a".repeat(16)],
    ["550e8400-e29b-4-x", "550e8400-e29b-4"],
    ["???", ""],
  ])("slug of %s", (text, expected) => expect(slug(text)).toBe(expected));

  test.each([
    ["a b@c", "abc"],
    ["--x--", "x"],
    ["user:1/foo", "user1foo"],
    ["-._a_.-", "a"],
    ["@@@", null],
    ["KeepsCase.1_2-3", "KeepsCase.1_2-3"],
    ["x".repeat(80), "x".repeat(63)],
    [`${"x".repeat(62)}--`, "x".repeat(62)],
  ])("label value of %s", (text, expected) => expect(sanitizeLabelValue(text)).toBe(expected));
});

test.each([
  ["team", true],
  ["example.com/team", true],
  ["a/b/c", false],
  ["-team", false],
  ["Example.com/x", false],
  ["example..com/x", false],
  ["", false],
  ["x".repeat(64), false],
])("label key %s", (key, expected) => expect(isLabelKey(key)).toBe(expected));

test.each([
  ["", true],
  ["a.b_c-1", true],
  ["a b", false],
  ["-a", false],
  ["x".repeat(64), false],
])("label value %s", (value, expected) => expect(isLabelValue(value)).toBe(expected));
