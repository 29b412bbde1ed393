import fc from "fast-check";

/** How long each property is tried: `FUZZ_SECONDS=300 npx vitest run --project unit test/unit/hostile/fuzz` for the long form. */
const SECONDS = Number(process.env.FUZZ_SECONDS ?? 1);
const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);

/** Of a test with `properties` of them. */
export function fuzzTimeoutMs(properties = 1): number {
  return (SECONDS * properties + 60) * 1000;
}

/**
 * Tries the property until the time is over; says how often, and with which seed (`FUZZ_SEED` repeats it).
 *
 * @throws as `fc.assert`, with the counterexample
 */
export async function fuzz<Ts>(what: string, property: fc.IRawProperty<Ts>, examples: Ts[] = []): Promise<void> {
  let tries = 0;
  const counted: fc.IRawProperty<Ts> = Object.create(property, {
    run: {
      value: (value: Ts) => {
        tries += 1;
        return property.run(value);
      },
    },
  });
  const began = performance.now();
  await fc.assert(counted, {
    seed,
    examples,
    numRuns: Number.MAX_SAFE_INTEGER,
    interruptAfterTimeLimit: SECONDS * 1000,
    markInterruptAsFailure: false,
    // A counterexample of an hour's run is worth a minute's search for a small one.
    endOnFailure: false,
  });
  if (tries < 3) throw new Error(`${what}: tried ${tries} times only in ${SECONDS} s`);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`fuzz ${what}: ${tries} tries in ${seconds} s (seed ${seed})`);
}

/** `bytes` in pieces of these sizes, used in turn. */
export function* pieces(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i += 1) {
    const size = Math.max(1, sizes[i % sizes.length] ?? bytes.length);
    yield bytes.subarray(at, at + size);
    at += size;
  }
}
