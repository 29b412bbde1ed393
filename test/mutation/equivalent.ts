/**
 * Changes that make no difference to anybody, by file and by the line as the command shows it, each with its reason. A line that
 * is written otherwise comes back as a survivor.
 */
const EQUIVALENT: Readonly<Record<string, readonly (readonly [shown: string, reason: string])[]>> = {
  "src/engine/facts.ts": [
    ['return time === undefined || time «< → <=» "1971" ? null : time;', "no time is a year alone"],
    ["if («container.restartRules === undefined → false») return false;", "no rules, and no rule fits: the same"],
  ],
  "src/engine/job-facts.ts": [
    [
      "allowsRetries: (spec.backoffLimit ?? «6 → 7») > 0 || spec.podFailurePolicy !== undefined,",
      "both are more than none",
    ],
  ],
  "src/engine/runs/classify.ts": [
    ["const againAt = «state.answer?.askAgainAt ?? now → state.answer?.askAgainAt»;", "no time is before undefined"],
    [
      "return settle(run, { kind, at: «state.jobEndedAt ?? run.now → state.jobEndedAt», ...job.end, reason: job.end.reason || job.end.type });",
      "set with the Job's end",
    ],
    [
      'if (end?.reason === "DeadlineExceeded") return { kind: "deadline", at: «state.jobEndedAt ?? run.now → state.jobEndedAt», ...end };',
      "set with the Job's end",
    ],
    ["return («state.jobEndedAt ?? now → state.jobEndedAt») + policy.settleMs;", "set with the Job's end"],
    [
      "return settle(run, { kind, at: «state.podEndedAt ?? run.now → state.podEndedAt», reason, message });",
      "set with the pod's end",
    ],
    [
      "const at = «deletingAt ?? state.podEndedAt ?? run.now → deletingAt ?? state.podEndedAt»;",
      "one of the two is set",
    ],
    [
      "const jobDue = («state.endedAt.get(run.container) ?? run.now → state.endedAt.get(run.container)») + run.policy.settleMs;",
      "set with the container's end",
    ],
    ["const killed = «run.podFacts?.killedByKubelet ?? null → run.podFacts?.killedByKubelet»;", "there is a pod"],
    [
      "const killed = «podFacts?.killedByKubelet ?? null → podFacts?.killedByKubelet»;",
      "without a pod neither is a word",
    ],
    [
      'const isOfBefore = cause.kind === "succeeded" && («(known.ended ?? known.last)?.exitCode ?? 0 → (known.ended ?? known.last)?.exitCode») !== 0;',
      "there is no end to leave out",
    ],
    [
      'const isOfBefore = cause.kind === "succeeded" && ((known.ended ?? known.last)?.exitCode ?? «0 → 1») !== 0;',
      "there is no end to leave out",
    ],
    [
      "return «podFacts?.disruption ?? (ran ? podFacts?.refusedByKubelet : null) ?? null → podFacts?.disruption ?? (ran ? podFacts?.refusedByKubelet : null)»;",
      "without a pod none is deleted and none has ended",
    ],
    ["? Math.max(cause.at, «endedAt ?? cause.at → endedAt») + policy.settleMs", "null counts as 0"],
  ],
  "src/engine/logs/follow-policy.ts": [
    [
      "if («finishedAt === null || last === null || lastLine === null → false») return false;",
      "asked for after an end that a line marks: all three are there",
    ],
    [
      "if (finishedAt === null || last === null «|| → &&» lastLine === null) return false;",
      "asked for after an end that a line marks: all three are there",
    ],
    [
      "if (finishedAt === null «|| → &&» last === null || lastLine === null) return false;",
      "asked for after an end that a line marks: all three are there",
    ],
    [
      "if (finishedAt === null || last === null || lastLine === null) return «false → true»;",
      "asked for after an end that a line marks: all three are there",
    ],
    [
      'if («last?.end !== "refused" → false») throw new TypeError("asked for the refusal of a read that was answered");',
      "no row asks without a refusal",
    ],
    ["return ms * 2 ** Math.min(times, «10 → 11»);", "all callers cut the result off far below"],
    ["return history.endedAt === null ? «0 → 1» : now - history.endedAt;", "a millisecond of a patience of minutes"],
    ["if (cleanEnds !== 1) return cleanEnds «> → >=» 1;", "it is not 1 there"],
    ["const lateMs = «stoppedAt === null → false» ? 0 : stoppedAt - answeredAt;", "less than none is not late either"],
    ["const serverTime = «last?.serverTime ?? null → last?.serverTime»;", "a comparison with no number is false"],
    ["if (seenRunning || finishedAt === null «|| → &&» serverTime === null) return false;", "the same"],
    ["const lateMs = stoppedAt === null ? «0 → 1» : stoppedAt - answeredAt;", "a millisecond of a second"],
  ],
  "src/engine/logs/follow-history.ts": [
    ["openedAt: «0 → 1»,", "asked for after a read, which sets it"],
    ["answeredAt: «0 → 1»,", "asked for after a clean end, which sets it"],
  ],
  "src/engine/logs/log-position.ts": [
    ["if («last < 0 → false») return false;", "where none is remembered, none is found"],
    ["if (last «< → <=» 0) return false;", "before a single time none is remembered"],
    ["if (last < «0 → 1») return false;", "before a single time none is remembered"],
    [
      "const before = index > «0 → 1» ? this.#timeAt(index - WIDTH) : this.#forgotten.before({ seconds, nanos });",
      "an index is a multiple of three",
    ],
    ["#wasCut = «false → true»;", "asked for after a read, which sets it"],
    ["if («times.length >= MAX_REMEMBERED * WIDTH → false») this.#forgetOlderHalf();", "a matter of memory alone"],
    ["if (times.length «>= → >» MAX_REMEMBERED * WIDTH) this.#forgetOlderHalf();", "a matter of memory alone"],
    ["const first = «expected[0] ?? null → expected[0]»;", "a read of which nothing is expected asks for neither"],
    ["let index = this.#times.length «- → +» WIDTH;", "behind the last there is nothing that could be equal"],
    ["if (this.#before === null || compare(time, this.#before) «> → >=» 0) this.#before = time;", "equal times"],
  ],
  "src/engine/runs/run-state.ts": [
    [
      "const former = isSame || before === null ? («before?.former ?? null → before?.former») : { code: before.code, since: before.since };",
      "asked for its code alone",
    ],
    ["isPodFinal: «false → true»,", "set with the first pod"],
    [
      "const order = isSame ? compareVersions(told.metadata.resourceVersion, known.metadata.resourceVersion) : «1 → 2»;",
      "both are more than none",
    ],
    ['const pod = order «< → <=» 0 && known !== null && type === "deleted" ? known : told;', "one version, one state"],
    ['const pod = order < «0 → 1» && known !== null && type === "deleted" ? known : told;', "one version, one state"],
    ["ranBefore: «isFirst → false» ? state.ranBefore : ranIn(state),", "nothing has started before the first pod"],
    ["if («pod === null → false») return null;", "then the only one is null"],
    [
      "return compareVersions(told.metadata.resourceVersion, known.metadata.resourceVersion) «> → >=» 0;",
      "equal ones are told before",
    ],
    ["if (followed === null) return «pods[0] ?? null → pods[0]»;", "there is one"],
    ["failedAsks: «0 → 1»,", "asked for with an answer, which sets it"],
    ["return order === 0 || (order «< → <=» 0 && askedAt !== null);", "0 is told before"],
    ["return order === 0 || (order < «0 → 1» && askedAt !== null);", "0 is told before"],
    ["if (order !== 0) return order «> → >=» 0;", "it is not 0 there"],
    ["return «started.size === 0 → false» ? ranBefore : new Set([...ranBefore, ...started]);", "an equal set"],
  ],
  "src/adapter/start/lease-verdict.ts": [
    [
      'const ageMs = Math.max(seenMs, life === "unknown" ? («writtenMsAgo ?? 0 → writtenMsAgo») : 0);',
      "null counts as 0",
    ],
  ],
};

export function isEquivalent(file: string, shown: string): boolean {
  return (EQUIVALENT[file] ?? []).some(([each]) => each === shown);
}
