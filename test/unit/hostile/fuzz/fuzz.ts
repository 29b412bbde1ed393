import { seededRandom } from "../../../../src/embedded/random.ts";
import fc, { seed } from "../../property.ts";

/** How long each property is tried: `FUZZ_SECONDS=300 npx vitest run --project unit test/unit/hostile/fuzz` for the long form. */
const SECONDS = Number(process.env.FUZZ_SECONDS ?? 1);

/** Of a test of one property. */
export function fuzzTimeoutMs(): number {
  return (SECONDS + 180) * 1000;
}

/**
 * Tries the property until the time is over, at least once; says how often, and with which seed (`FUZZ_SEED` repeats it).
 *
 * @throws as `fc.assert`, with the counterexample
 */
export async function fuzz<Ts>(
  what: string,
  property: fc.IRawProperty<Ts>,
  { triesAtOnce = 1000, told = (): string => "" } = {},
): Promise<void> {
  const began = performance.now();
  const elapsed = () => (performance.now() - began) / 1000;
  let tries = 0;
  do {
    // By turns, since a turn that is interrupted would prove nothing.
    await fc.assert(property, { seed: seed + tries, numRuns: triesAtOnce });
    tries += triesAtOnce;
  } while (elapsed() < SECONDS);
  console.log(`fuzz ${what}: ${tries} tries in ${elapsed().toFixed(1)} s${told()} (seed ${seed})`);
}

/** Choices of one scenario, all from its seed. */
export class Dice {
  readonly #random: () => number;
  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }
  /** From 0 to below `limit`. */
  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }
  chance(probability: number): boolean {
    return this.#random() < probability;
  }
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
}

/** Seeds of scenarios that run side by side. They are not made smaller: each takes seconds. */
export function seeds(count: number): fc.Arbitrary<number[]> {
  return fc.noShrink(fc.array(fc.nat(), { minLength: count, maxLength: count }));
}

/** `bytes` in pieces of these sizes, used in turn. */
export function* pieces(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i += 1) {
    const size = Math.max(1, sizes[i % sizes.length] ?? bytes.length);
    yield bytes.subarray(at, at + size);
    at += size;
  }
}
