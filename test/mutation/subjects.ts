export interface Subject {
  readonly file: string;
  /** The nearest tests, under `test/unit`. */
  readonly tests: readonly string[];
}

/** The files that decide, and read nothing but their arguments. */
export const SUBJECTS: readonly Subject[] = [
  {
    file: "src/engine/facts.ts",
    tests: ["runs/facts", "runs/classify", "runs/run-state", "runs/traces", "logs/container-view"],
  },
  { file: "src/engine/job-facts.ts", tests: ["runs/facts", "runs/classify"] },
  { file: "src/engine/runs/classify.ts", tests: ["runs/classify", "runs/traces", "runs/trust"] },
  {
    file: "src/engine/runs/run-state.ts",
    tests: ["runs/run-state", "runs/classify", "runs/traces", "runs/trust"],
  },
  { file: "src/engine/informer/reflector-policy.ts", tests: ["informer/reflector-policy"] },
  { file: "src/engine/logs/follow-policy.ts", tests: ["logs/follow-policy"] },
  { file: "src/engine/logs/follow-history.ts", tests: ["logs/follow-history", "logs/follow-policy"] },
  { file: "src/engine/logs/log-position.ts", tests: ["logs/log-position", "logs/positions"] },
  { file: "src/adapter/start/orphans.ts", tests: ["adapter/orphans"] },
  { file: "src/adapter/start/lease-verdict.ts", tests: ["adapter/lease-verdict"] },
  { file: "src/claude/classify.ts", tests: ["claude/classify"] },
  { file: "src/claude/stream-json.ts", tests: ["claude/stream-json", "claude/recordings"] },
];
