import type { UsageSummary } from "@paperclipai/adapter-utils";
import { count, field, finite, isRecord, type JsonObject, recordsIn } from "../json/read-json.ts";

export interface Spending {
  readonly usage: UsageSummary;
  readonly costUsd: number | null;
}

const MAX_MODELS = 20;

/**
 * What this run used: exactly this run, not its session, over all its results.
 *
 * `modelUsage` counts every model and subagent, `usage` only the main chain, so the former is preferred. On a resumed
 * session, `modelUsage` and `total_cost_usd` go on from the totals of the former runs (seen with CLI 2.1.330), while
 * `model_usage_since_last_result` starts at zero with the process: where that exists it is what counts. Without it, a process that
 * goes on with the run's session is taken to go on from the totals, too, where its own are higher.
 */
export class SpendingMeter {
  #sinceLast: Spending | null = null;
  #total: Spending | null = null;
  /** What the run's former processes said. */
  #former: Spending | null = null;

  /** Another process goes on with the session. */
  restarted(): void {
    this.#former = this.read();
    this.#sinceLast = null;
    this.#total = null;
  }

  add(event: JsonObject): void {
    const since = modelTotals(field(event, "model_usage_since_last_result"));
    if (since !== null) this.#sinceLast = this.#sinceLast === null ? since : plus(this.#sinceLast, since);
    const before = this.#total;
    const models = modelTotals(field(event, "modelUsage"));
    this.#total = {
      // `modelUsage` goes on from result to result; `usage` is of one turn, and a result of no turn has zeros.
      usage: models?.usage ?? sum(before?.usage ?? NO_USAGE, mainChain(field(event, "usage"))),
      costUsd: highest(before?.costUsd ?? null, finite(field(event, "total_cost_usd"))),
    };
  }

  /** Null as long as no result was added. */
  read(): Spending | null {
    const own = this.#sinceLast ?? this.#total;
    if (this.#former === null || own === null) return own ?? this.#former;
    const goesOn = this.#sinceLast === null && (own.costUsd ?? 0) > (this.#former.costUsd ?? 0);
    return goesOn ? own : plus(this.#former, own);
  }
}

const NO_USAGE: UsageSummary = { inputTokens: 0, cachedInputTokens: 0, outputTokens: 0 };

function mainChain(usage: unknown): UsageSummary {
  return {
    inputTokens: count(field(usage, "input_tokens")),
    cachedInputTokens: count(field(usage, "cache_read_input_tokens")),
    outputTokens: count(field(usage, "output_tokens")),
  };
}

/** `total_cost_usd` only grows in one process; a result of no turn may say 0. */
function highest(a: number | null, b: number | null): number | null {
  return a === null ? b : b === null ? a : Math.max(a, b);
}

/** Null without an entry that can be read. Tokens that fill the prompt cache are billed input. */
function modelTotals(value: unknown): Spending | null {
  if (!isRecord(value)) return null;
  const models = recordsIn(Object.values(value)).slice(0, MAX_MODELS);
  if (models.length === 0) return null;
  const total = (name: string) => models.reduce((before, model) => before + count(field(model, name)), 0);
  return {
    usage: {
      inputTokens: total("inputTokens") + total("cacheCreationInputTokens"),
      cachedInputTokens: total("cacheReadInputTokens"),
      outputTokens: total("outputTokens"),
    },
    costUsd: total("costUSD"),
  };
}

function plus(a: Spending, b: Spending): Spending {
  return { usage: sum(a.usage, b.usage), costUsd: (a.costUsd ?? 0) + (b.costUsd ?? 0) };
}

function sum(a: UsageSummary, b: UsageSummary): UsageSummary {
  return {
    inputTokens: a.inputTokens + b.inputTokens,
    cachedInputTokens: (a.cachedInputTokens ?? 0) + (b.cachedInputTokens ?? 0),
    outputTokens: a.outputTokens + b.outputTokens,
  };
}
