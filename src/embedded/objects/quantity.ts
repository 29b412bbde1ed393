const factors: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

const binarySuffixes = ["Ei", "Pi", "Ti", "Gi", "Mi", "Ki"] as const;

/** The shortest quantity of the value: `20Mi`, `1200m`, `2`. */
export function formatQuantity(value: number): string {
  for (const suffix of binarySuffixes) {
    const factor = factors[suffix] as number;
    if (value >= factor && value % factor === 0) return `${value / factor}${suffix}`;
  }
  return Number.isInteger(value) ? String(value) : `${Math.ceil(value * 1000)}m`;
}

/** A Kubernetes quantity (`500m`, `2Gi`, `1k`, `1e3`) as a number; NaN when it is none. */
export function parseQuantity(quantity: string | number): number {
  if (typeof quantity === "number") return quantity;
  const match = /^([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE])?$/.exec(quantity.trim());
  if (match === null) return Number.NaN;
  return Number(match[1]) * (factors[match[2] ?? ""] ?? Number.NaN);
}

/** What the API takes for a quantity. */
export const QUANTITY = /^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(([KMGTPE]i)|[numkMGTPE]|[eE][+-]?[0-9]+)?$/;
