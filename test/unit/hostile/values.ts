import fc from "../property.ts";

/** Values that no form would write, yet a database may hold. */
export const HOSTILE: readonly unknown[] = [
  null,
  undefined,
  true,
  false,
  0,
  -1,
  1.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2 ** 53,
  -(2 ** 31),
  "",
  " ",
  "\0",
  "a\0b",
  "\n",
  "🚀",
  "\ud800",
  "../../etc/passwd",
  "/../..",
  "x".repeat(10_000),
  "$(touch /tmp/x)",
  "'; rm -rf /",
  "__proto__",
  "constructor",
  "[object Object]",
  "{",
  "[",
  "null",
  "true",
  "1e999",
  "0x10",
  "-0",
  "NaN",
  "1Gi; rm",
  [],
  [[]],
  [null],
  {},
  { __proto__: null },
  JSON.parse('{"__proto__": {"polluted": true}}'),
  { toString: null },
  { length: -1 },
  () => undefined,
  Symbol("s"),
  10n,
  new Date(Number.NaN),
  new Map(),
  /x/,
  Object.create(null),
];

export const hostile = (): fc.Arbitrary<unknown> =>
  fc.oneof(
    fc.constantFrom(...HOSTILE),
    fc.anything({ withNullPrototype: true, maxDepth: 3 }),
    fc.string({ unit: "binary" }),
  );

/** No test may leave this behind. */
export function isPolluted(): boolean {
  return "polluted" in {} || Object.keys(Object.prototype).length > 0;
}
