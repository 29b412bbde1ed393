/** What a bench is given, and what it hands back to be printed. */
export interface BenchContext {
  /** Small sizes and one round: shows that everything runs, not how fast. */
  quick: boolean;
  /** Measured rounds; a warm-up round comes on top. */
  rounds: number;
  /** Progress, to stderr. */
  log(text: string): void;
}

export interface Bench {
  name: string;
  title: string;
  run(context: BenchContext): Promise<BenchReport>;
}

export interface BenchReport {
  tables: Table[];
  goals: Goal[];
  /** What a reader has to know about the figures. */
  notes?: string[];
  /** For the chart of growth: cost against size. */
  series?: Series[];
}

export interface Table {
  title: string;
  columns: readonly string[];
  rows: readonly (readonly string[])[];
}

export interface Goal {
  what: string;
  goal: string;
  figure: string;
  /** `void`: the measurement says nothing, so it meets nothing. */
  met: boolean | "void";
}

export interface Series {
  name: string;
  /** Of x, e.g. `pods`. */
  size: string;
  /** Of y, e.g. `ms`. */
  unit: string;
  points: [size: number, cost: number][];
}

/**
 * Every contestant once a round, in an order that moves on from round to round, so that none is always first or always
 * after the same neighbour. The first round warms up and is not counted.
 */
export async function inTurns<C extends string, R>(
  contestants: readonly C[],
  { rounds, quick, log }: BenchContext,
  measure: (contestant: C, round: number) => Promise<R>,
): Promise<Record<C, R[]>> {
  const results = Object.fromEntries(contestants.map((name) => [name, [] as R[]])) as Record<C, R[]>;
  for (let round = quick ? 1 : 0; round <= rounds; round += 1) {
    for (let turn = 0; turn < contestants.length; turn += 1) {
      const contestant = contestants[(turn + round) % contestants.length] as C;
      const result = await measure(contestant, round);
      if (round > 0) results[contestant].push(result);
      log(`  ${round === 0 ? "warm-up" : `round ${round}`}: ${contestant}`);
    }
  }
  return results;
}
