/** What each run of the soak does: derived from the seed and the run's number alone, in every process alike. */
import type { Numbering } from "../../src/cli/fleet/line-audit.ts";
import { seededRandom } from "../../src/embedded/random.ts";

/** Where the soak runs: its own embedded Kubernetes with scripted containers, or any cluster, with the fixture's fake `claude`. */
export type Form = "embedded" | "any";

export const NAMESPACE = "soak";
export const IMAGE = "soak/agent:1";
export const MISSING_IMAGE = "soak/missing:1";
export const BESIDE_IMAGE = "soak/beside:1";
/** The claim that keeps the sessions of agents that go on in another Job. */
export const SESSIONS = "sessions";

/** Exit code of a container that is to come again: in another pod of its Job, or started again in its own. */
export const AGAIN = 7;

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

/** What an agent prints beside its lines of text. */
export type Output =
  | "plain"
  /** First the result of a turn that answers a notification, as a resumed session prints it. */
  | "notified"
  /** Two turns, each with a result. */
  | "two results"
  /** It has said its result, and does not end. */
  | "lingering";

export interface Script {
  readonly index: number;
  /** Runs that share an agent compete for it. */
  readonly agentId: string;
  readonly ending: Ending;
  readonly lines: number;
  /** Mean of the milliseconds between two lines. */
  readonly paceMs: number;
  readonly exitCode: number;
  /** SIGTERM is answered with exit code 143; otherwise it is ignored, and SIGKILL follows. */
  readonly minds: boolean;
  /** The log file is rotated after this line. */
  readonly rotateAfter: number | null;
  /** The container fails after so many lines, the Job makes another pod, and that goes on where the first one stopped. */
  readonly retryAfter: number | null;
  /** The same, but the kubelet starts the container again, in the same pod. */
  readonly restartAfter: number | null;
  /** The pod is evicted after so many lines, and the adapter goes on with the run in another Job, where it begins with `init` again. */
  readonly movesAfter: number | null;
  /** The host stops the run so many milliseconds after its start. */
  readonly cancelAfterMs: number | null;
  /** How the host takes the log. */
  readonly host: "fast" | "slow" | "rejecting";
  /** Competes with the run before or after it for one agent. */
  readonly contends: boolean;
  readonly policy: "wait" | "block";
  readonly output: Output;
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

/** After how many lines a container ends so that another one goes on. Null: there is one. */
export function againAfter({ retryAfter, restartAfter, movesAfter }: Script): number | null {
  return retryAfter ?? restartAfter ?? movesAfter;
}

/** What an agent of any cluster can be made to do without a hand on the cluster. */
const ENDINGS_ANYWHERE: readonly (readonly [Ending, number])[] = [
  ["ok", 60],
  ["fail", 15],
  ["crash", 12],
  ["deadline", 6],
];

/** `moves`: some runs go on in another Job. */
export function scriptOf(seed: number, index: number, form: Form = "embedded", moves = false): Script {
  const group = Math.floor(index / 2);
  // One pair in eight shares an agent. The agent decides what runs: whichever of the two wins.
  const contends = seededRandom(seed * 7919 + group * 31 + 5)() < 0.125;
  const agentId = contends ? `s${seed}-g${group}` : `s${seed}-a${index}`;
  const random = seededRandom(hash(`${seed}:${agentId}`));
  const ending = contends ? "ok" : pick(random, form === "embedded" ? ENDINGS : ENDINGS_ANYWHERE);
  const shape = random();
  // Short, middling, chatty, silent; and a few that outlive a server's Lease.
  const [lines, paceMs] =
    shape < 0.4
      ? [3 + int(random, 8), 60]
      : shape < 0.7
        ? [20 + int(random, 80), 45]
        : shape < 0.88
          ? [200 + int(random, 600), 4]
          : shape < 0.97
            ? [3 + int(random, 3), 1_500]
            : [20 + int(random, 40), 1_000];
  const rotates = random() < 0.05 && lines > 20;
  const own = seededRandom(hash(`${seed}:${index}:host`));
  const host = own();
  const beside = seededRandom(hash(`${seed}:${agentId}:beside`))();
  const isEmbedded = form === "embedded";
  const retries = seededRandom(hash(`${seed}:${agentId}:retries`));
  const again = retries();
  // A mesh outlives the agent that failed: no Job replaces its pod.
  const mayRetry =
    isEmbedded &&
    !contends &&
    beside >= 0.06 &&
    lines > 8 &&
    (ending === "ok" || ending === "fail" || ending === "crash");
  const after = 1 + int(retries, Math.max(1, lines - 4));
  const out = seededRandom(hash(`${seed}:${agentId}:output`))();
  const hasResult = ending === "ok" && lines > 4;
  const movesAfter = moves && mayRetry && ending === "ok" && again >= 0.1 && again < 0.6 ? after : null;
  return {
    index,
    agentId,
    ending,
    lines,
    paceMs,
    exitCode: ending === "ok" ? 0 : ending === "oom" ? 137 : 1 + int(random, 120),
    minds: random() < 0.5 || !isEmbedded,
    // Some before the first read.
    rotateAfter: isEmbedded && rotates ? (random() < 0.3 ? int(random, 3) : 10 + int(random, lines - 15)) : null,
    retryAfter: mayRetry && again < 0.1 ? after : null,
    // Only where the container ends well at last: after any other end it is started again, and again.
    restartAfter: mayRetry && again > 0.88 && ending === "ok" ? after : null,
    movesAfter,
    cancelAfterMs: own() < 0.4 && !contends ? int(own, 12_000) : null,
    host: host < 0.9 ? "fast" : host < 0.96 ? "slow" : "rejecting",
    contends,
    policy: contends && own() < 0.5 ? "block" : "wait",
    output:
      !hasResult || out >= 0.3 || movesAfter !== null
        ? "plain"
        : out < 0.1
          ? "notified"
          : out < 0.2
            ? "two results"
            : "lingering",
    beside: !isEmbedded || beside >= 0.12 ? "nothing" : beside < 0.06 ? "mesh" : "docker",
  };
}

/** The script of whoever runs under this agent's id; null: it is none of the soak's. */
export function scriptOfAgent(seed: number, agentId: string, form: Form, moves = false): Script | null {
  const [, kind, number] = new RegExp(`^s${seed}-([ag])(\\d+)$`).exec(agentId) ?? [];
  return number === undefined ? null : scriptOf(seed, kind === "g" ? Number(number) * 2 : Number(number), form, moves);
}

/** What the fixture's fake `claude` is told, so that it does what the script says. */
export function directivesOf({ ending, lines, paceMs, exitCode, output }: Script): string {
  const burst = paceMs < 10;
  const work = (count: number) => (burst ? `burst ${count} 200` : `lines ${count} ${(paceMs / 1000).toFixed(3)}`);
  const middle = Math.max(1, Math.floor((lines - 2) / 2));
  switch (ending) {
    case "ok":
      if (output === "two results") return `init;${work(middle)};result;${work(lines - middle - 3)};result`;
      return `init;${work(lines - 2)};result${output === "lingering" ? ";sleep 60" : ""}`;
    case "fail":
      return `init;${work(lines - 2)};result error;exit ${exitCode}`;
    case "crash":
      return `init;${work(lines - 1)};exit ${exitCode}`;
    default:
      return `init;${work(lines - 1)};until-term`;
  }
}

/** How an audit tells the script's lines from each other, and from others. */
export function numberingOf(script: Script, form: Form = "embedded"): Numbering {
  if (form === "any") {
    return {
      read: (line) => {
        const [, seq] = /"seq":(\d+)\}$/.exec(line) ?? [];
        const [, total] = /"lines":(\d+),/.exec(line) ?? [];
        return seq === undefined
          ? null
          : { seq: Number(seq), ...(total === undefined ? {} : { total: Number(total) }) };
      },
    };
  }
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
  const { agentId, ending, lines, output, movesAfter } = script;
  const session_id = `00000000-0000-4000-8000-${hash(agentId).toString(16).padStart(12, "0")}`;
  const soak = { soak: agentId, soak_seq: seq };
  if (seq === 0 || seq === movesAfter) {
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
  const isLast = seq === lines - 1;
  const isResult =
    (output === "notified" && seq === 1) ||
    (output === "two results" && seq === lines - 2) ||
    (isLast && ending === "ok");
  if (isResult) {
    return JSON.stringify({
      type: "result",
      subtype: "success",
      is_error: false,
      session_id,
      // A turn of its own each, but for the answer to the notification, which comes before the prompt's.
      num_turns: isLast || output === "two results" ? 1 : 0,
      ...(isLast || output === "two results" ? {} : { origin: { kind: "task-notification" } }),
      result: isLast ? "done" : "so far",
      total_cost_usd: 0.5,
      usage: { input_tokens: lines, output_tokens: lines },
      ...soak,
    });
  }
  if (isLast && ending === "fail") {
    return JSON.stringify({
      type: "result",
      subtype: "error_during_execution",
      is_error: true,
      session_id,
      errors: ["scripted failure"],
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

/** Milliseconds before a line. */
export function paceOf(script: Script): () => number {
  const random = seededRandom(hash(`${script.agentId}:pace`));
  return () => script.paceMs * 2 * random();
}

function pick(random: () => number, endings: readonly (readonly [Ending, number])[]): Ending {
  let left = random() * endings.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [ending, weight] of endings) {
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
