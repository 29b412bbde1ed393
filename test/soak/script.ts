/** What each run of the soak does: derived from the seed and the run's number alone, in every process alike. */
import type { Numbering } from "../../src/cli/fleet/line-audit.ts";
import { seededRandom } from "../../src/embedded/random.ts";

export const NAMESPACE = "soak";
export const IMAGE = "soak/agent:1";
export const MISSING_IMAGE = "soak/missing:1";
export const BESIDE_IMAGE = "soak/beside:1";

export type Ending =
  /** Says that it is done, exit code 0. */
  | "ok"
  /** Says that it failed, exit code 1…120. */
  | "fail"
  /** Ends without a result. */
  | "crash"
  /** Runs until the Job's deadline. */
  | "deadline"
  /** Somebody deletes the Job. */
  | "job_deleted"
  /** Somebody deletes the pod. */
  | "pod_deleted"
  | "evicted"
  | "oom"
  /** The image cannot be pulled. */
  | "no_image";

export interface Script {
  readonly index: number;
  /** Runs that share an agent compete for it. */
  readonly agentId: string;
  readonly ending: Ending;
  readonly lines: number;
  /** Mean of the virtual milliseconds between two lines. */
  readonly paceMs: number;
  readonly exitCode: number;
  /** SIGTERM is answered with exit code 143; otherwise it is ignored, and SIGKILL follows. */
  readonly minds: boolean;
  /** The log file is rotated after this line. */
  readonly rotateAfter: number | null;
  /** The container fails after so many lines, the Job makes another pod, and that goes on where the first one stopped. */
  readonly retryAfter: number | null;
  /** The host stops the run so many real milliseconds after its start. */
  readonly cancelAfterMs: number | null;
  /** How the host takes the log. */
  readonly host: "fast" | "slow" | "rejecting";
  /** Competes with the run before or after it for one agent. */
  readonly contends: boolean;
  /** A container beside the agent that outlives it: injected as a mesh does, or the adapter's own Docker daemon. */
  readonly beside: "nothing" | "mesh" | "docker";
}

const ENDINGS: readonly (readonly [Ending, number])[] = [
  ["ok", 50],
  ["fail", 12],
  ["crash", 8],
  ["deadline", 6],
  ["job_deleted", 6],
  ["pod_deleted", 5],
  ["evicted", 5],
  ["oom", 5],
  ["no_image", 3],
];

export function scriptOf(seed: number, index: number): Script {
  const group = Math.floor(index / 2);
  // One pair in eight shares an agent. The agent decides what runs: whichever of the two wins.
  const contends = seededRandom(seed * 7919 + group * 31 + 5)() < 0.125;
  const agentId = contends ? `s${seed}-g${group}` : `s${seed}-a${index}`;
  const random = seededRandom(hash(`${seed}:${agentId}`));
  const ending = contends ? "ok" : pick(random);
  const shape = random();
  // Short, long, chatty, silent.
  const [lines, paceMs] =
    shape < 0.4
      ? [2 + int(random, 8), 800]
      : shape < 0.7
        ? [20 + int(random, 80), 900]
        : shape < 0.9
          ? [200 + int(random, 600), 60]
          : [1 + int(random, 3), 30_000];
  const rotates = random() < 0.03 && lines > 20;
  const own = seededRandom(hash(`${seed}:${index}:host`));
  const host = own();
  const beside = seededRandom(hash(`${seed}:${agentId}:beside`))();
  // A mesh outlives the agent that failed: no Job replaces its pod.
  const mayRetry =
    !contends && beside >= 0.06 && lines > 8 && (ending === "ok" || ending === "fail" || ending === "crash");
  const retries = seededRandom(hash(`${seed}:${agentId}:retries`));
  return {
    index,
    agentId,
    ending,
    lines,
    paceMs,
    exitCode: ending === "ok" ? 0 : ending === "oom" ? 137 : 1 + int(random, 120),
    minds: random() < 0.5,
    rotateAfter: rotates ? 10 + int(random, lines - 15) : null,
    retryAfter: mayRetry && retries() < 0.12 ? 1 + int(retries, lines - 4) : null,
    cancelAfterMs: own() < 0.5 && !contends ? int(own, 12_000) : null,
    host: host < 0.9 ? "fast" : host < 0.96 ? "slow" : "rejecting",
    contends,
    beside: beside < 0.06 ? "mesh" : beside < 0.12 ? "docker" : "nothing",
  };
}

/** How an audit tells the script's lines from each other, and from others. */
export function numberingOf(script: Script): Numbering {
  return {
    read: (line) => {
      const [, seq] = /"soak_seq":(\d+)\}$/.exec(line) ?? [];
      return seq === undefined ? null : { seq: Number(seq) };
    },
    textOf: (seq) => (seq < script.lines ? lineOf(script, seq) : null),
  };
}

/** The last line of a run that ends by itself is its result, unless it crashes. */
export function lineOf(script: Script, seq: number): string {
  const { agentId, ending, lines } = script;
  const session_id = `00000000-0000-4000-8000-${hash(agentId).toString(16).padStart(12, "0")}`;
  const soak = { soak: agentId, soak_seq: seq };
  if (seq === 0) {
    return JSON.stringify({
      type: "system",
      subtype: "init",
      session_id,
      model: "soak",
      cwd: "/w",
      tools: [],
      ...soak,
    });
  }
  if (seq === lines - 1 && (ending === "ok" || ending === "fail")) {
    const isError = ending === "fail";
    return JSON.stringify({
      type: "result",
      subtype: isError ? "error_during_execution" : "success",
      is_error: isError,
      session_id,
      result: isError ? undefined : "done",
      ...(isError ? { errors: ["scripted failure"] } : {}),
      total_cost_usd: 0.5,
      usage: { input_tokens: lines, output_tokens: lines },
      ...soak,
    });
  }
  const text = TEXTS[(hash(agentId) + seq) % TEXTS.length] ?? "";
  // Now and then longer than the container runtime's own 16 KiB, and than what the host takes in one piece.
  const padding = seq % 97 === 50 ? "x".repeat(20_000) : seq % 389 === 200 ? "東".repeat(70_000) : "";
  const message = {
    id: `msg_${seq}`,
    role: "assistant",
    stop_reason: null,
    usage: { input_tokens: 1, output_tokens: 1 },
    content: [{ type: "text", text: text + padding }],
  };
  return JSON.stringify({ type: "assistant", session_id, message, ...soak });
}

const TEXTS = ["Reading", "naïve café, 東京, 🚀", "a\u2028b", 'tab\tand "quotes"', "x".repeat(300), "…"];

/** Virtual milliseconds before a line. */
export function paceOf(script: Script): () => number {
  const random = seededRandom(hash(`${script.agentId}:pace`));
  return () => script.paceMs * 2 * random();
}

function pick(random: () => number): Ending {
  let left = random() * ENDINGS.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [ending, weight] of ENDINGS) {
    left -= weight;
    if (left < 0) return ending;
  }
  return "ok";
}

function int(random: () => number, below: number): number {
  return Math.floor(random() * below);
}

/** FNV-1a, 32 bits. */
export function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return value;
}
