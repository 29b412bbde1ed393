import fc from "fast-check";

const { FUZZ_SECONDS, FUZZ_SEED } = process.env;

/**
 * What property tests begin with: each time the same, so that a change is judged by itself. What is new, and may find a fault of
 * long ago, is for the long form (`FUZZ_SECONDS`); `FUZZ_SEED` repeats it.
 */
export const seed = Number(FUZZ_SEED ?? (FUZZ_SECONDS === undefined ? 2026 : Date.now() % 2 ** 31));

fc.configureGlobal({ seed });

export default fc;
