import type {
  AdapterEnvironmentCheck,
  AdapterEnvironmentTestContext,
  AdapterExecutionContext,
  AdapterExecutionResult,
  AdapterInvocationMeta,
  ServerAdapterModule,
  UsageSummary,
} from "@paperclipai/adapter-utils";
import type { LogGap, RunEnd } from "../engine/index.ts";
import type { BaseConfig } from "./config/config.ts";
import type { PodPatch } from "./config/pod-patch.ts";

/**
 * What one agent CLI brings to `createK8sAdapter`; everything about Kubernetes is the adapter's.
 *
 * Order in a run: `parseConfig` → `resumeSessionId` → `prepare` → (Job runs: every line to a fresh `ResultParser`) →
 * `classify`. A run that was adopted from an earlier process skips `prepare`; what `classify` needs of it comes back as
 * `carry`.
 */
export interface AdapterDefinition<Config extends BaseConfig, Verdict extends AgentVerdict> {
  /** Registry key of the host, and the value of the `paperclip.io/adapter-type` label. */
  readonly type: string;
  /** Name for people, e.g. `Claude (Kubernetes)`. */
  readonly label: string;
  /** The container that runs the agent; its log is the output, its exit code the result. */
  readonly containerName: string;
  /** First part of the Job's name, without the dash. */
  readonly jobNamePrefix: string;
  /** Everything of the host's module that is not about Kubernetes: models, skills, session codec, config schema, … */
  readonly module: Omit<Partial<ServerAdapterModule>, "type" | "execute" | "testEnvironment">;

  /** @throws ConfigError naming the key, what it got and what was expected. */
  parseConfig(raw: Record<string, unknown>): Config;
  /** The session that this run resumes, or null. Decides the `paperclip.io/session-id` label. */
  resumeSessionId(ctx: AdapterExecutionContext, config: Config): string | null;
  /** May read and write the server's own disk (prompt bundle). A throw is a failure before the Job exists. */
  prepare(input: PrepareInput<Config>): Promise<PreparedCommand>;
  createResultParser(): ResultParser<Verdict>;
  /** Is this the line that the agent prints last, of a run that succeeds? Saves the request that confirms the end of the log. */
  isLastLine?(line: string): boolean;
  /**
   * Can this line be the first that the agent prints? False of the first line that is read: those before it were rotated away, which
   * is told as a gap. Default: that is judged by its time.
   */
  isFirstLine?(line: string): boolean;
  /**
   * Where in the pod the agent keeps its sessions. A run that was cut off in the middle by what happens to its node goes on in its
   * session on another one, where a volume is mounted there. Default: it ends as it was cut off.
   */
  sessionDirectory?(config: Config): string;
  /** The host's result of a run whose Job existed. Pure; the adapter adds cancellation and continuation evidence. */
  classify(outcome: RunOutcome<Config, Verdict>): AdapterExecutionResult;
  /** May the host continue the conversation of this failed run by itself? Default: yes. No where an operator's limit ended it. */
  mayContinue?(result: AdapterExecutionResult): boolean;
  /** Prints the CLI's version: what the environment test's probe runs in the image, by `sh`. */
  readonly versionCommand?: string;
  /** Further checks for `testEnvironment`, after those of the cluster. */
  checkEnvironment?(ctx: AdapterEnvironmentTestContext, config: Config): Promise<AdapterEnvironmentCheck[]>;
}

/** Where the adapter puts the prompt and the command's files in the pod. */
export const PROMPT_DIRECTORY = "/tmp/prompt";
/** The prompt itself: `PROMPT_DIRECTORY/prompt.txt`. */
export const PROMPT_FILE = "prompt.txt";
/** Home of the agent in the pod, and the mount path of the shared data volume. */
export const DATA_DIRECTORY = "/paperclip";
/** Of the pod alone, deleted with it: `TMPDIR` and Paperclip's scratch variables name it. */
export const SCRATCH_DIRECTORY = "/tmp/scratch";

export interface PrepareInput<Config> {
  readonly ctx: AdapterExecutionContext;
  readonly config: Config;
  /** `definition.resumeSessionId`'s answer. */
  readonly sessionId: string | null;
  /** Working directory of the container. */
  readonly workingDir: string;
  /** Is the server's `/paperclip` volume mounted in the pod too? Else nothing on the server's disk is seen there. */
  readonly hasDataVolume: boolean;
  /** The same URL as a pod can reach it: the host's own loopback address becomes the configured `PAPERCLIP_API_URL`. */
  reachableUrl(url: string): string;
  /** The `carry` of each Job that stands in the namespace, as this server sees them. What it names is in use. */
  readonly carriesInUse: readonly Readonly<Record<string, string>>[];
  /** Set where `sessionId` is the run's own session, which its former process left in the middle. */
  readonly interruption?: Interruption | null;
  readonly signal: AbortSignal;
}

/** The machine of the run's former process went away. */
export interface Interruption {
  /** In Kubernetes' words. */
  readonly reason: string;
  /** The former process has read the run's prompt. False: it may not have. */
  readonly isPromptRead: boolean;
}

export interface PreparedFile {
  /** Plain file name, `[-._a-zA-Z0-9]+`, not `prompt.txt`; lands at `PROMPT_DIRECTORY/<name>`. */
  readonly name: string;
  readonly content: string;
}

export interface PreparedCommand {
  /** `command` of the container, e.g. `["sh", "-c", "exec claude … < /tmp/prompt/prompt.txt"]`. Its exit status is the agent's; without `exec` the shell gets the SIGTERM. */
  readonly command: readonly string[];
  /** For `onMeta`: the agent's arguments without the shell around them. Nothing secret. */
  readonly commandArgs: readonly string[];
  readonly prompt: string;
  readonly promptMetrics: Record<string, number>;
  /** Always delivered by the run Secret (they may hold tokens). */
  readonly files?: readonly PreparedFile[];
  /** Added after the Paperclip variables and before the operator's `env`. */
  readonly env?: Record<string, string>;
  /** Names in `env` whose values are credentials whatever they are called. */
  readonly secretEnv?: readonly string[];
  /** Of the pod: volumes and mounts of the CLI's own, sidecars. The operator's `podPatch` comes after it, with the same limits. */
  readonly podPatch?: PodPatch;
  /** For `onMeta`, after those of the adapter. */
  readonly commandNotes?: readonly string[];
  /** Written to the run's log before the Job is created, `[paperclip] ` is put before each. */
  readonly notices?: readonly Notice[];
  /** Kept on the Job as an annotation and given back to `classify`, also in a later process. Small; nothing secret. */
  readonly carry?: Record<string, string>;
}

export interface Notice {
  readonly stream: "stdout" | "stderr";
  readonly text: string;
}

/** Reads the agent's output as it comes. Bounded memory, whatever the length of a line or of the run. Never throws. */
export interface ResultParser<Verdict extends AgentVerdict> {
  /** One whole line without its newline. An event that is worth showing as progress is returned, else null. */
  push(line: string): AgentEvent | null;
  /** What the lines so far amount to. May be called more than once. */
  finish(): Verdict;
  /** The lines that follow are of another process of the same run: the one before was cut off with its machine. */
  restarted?(): void;
  /** What the agent is at after the lines so far. Asked after each batch of lines, so cheap. Default: `working`. */
  activity?(): AgentActivity;
}

/**
 * - `working`: its result is still to come.
 * - `background`: it has said its result, and waits for work of its own that it announced.
 * - `done`: it has said its result, and nothing of it goes on. A process that then lingers is ended.
 */
export type AgentActivity = "working" | "background" | "done";

/** Handed to the host's `onEvent`. */
export interface AgentEvent {
  /** At most 120 characters. */
  readonly eventType: string;
  readonly level?: "info" | "warn" | "error";
  readonly message: string;
  readonly payload?: Record<string, unknown>;
}

/** What every parser can say; a definition's own verdict extends it. */
export interface AgentVerdict {
  /** The agent said that it is done, well or badly (claude: a `result` event). */
  readonly hasResult: boolean;
  /** It said that it went well. */
  readonly isSuccess: boolean;
  /**
   * Its latest process has said more than that it begins (claude: its `init` event): from its prompt it would do its work twice.
   * Default: it has printed a line.
   */
  readonly hasBegun?: boolean;
  readonly sessionId: string | null;
  readonly model: string | null;
  readonly usage: UsageSummary | null;
  readonly costUsd: number | null;
  readonly summary: string | null;
}

/**
 * Why the run is over, by what the adapter knows.
 * - `ended`: the container ended by itself, see `end`.
 * - `timed_out`: the Job's deadline, or the adapter's own clock.
 * - `cancelled`: the host's signal.
 * - `job_deleted`: Job or pod were deleted or evicted by someone else, see `end.kind`.
 * - `start_failed`: the container never ran, see `end.startFailure`. The adapter sets `k8s_pod_schedule_failed`; `classify` is not asked.
 */
export type OutcomeKind = "ended" | "timed_out" | "cancelled" | "job_deleted";

export interface RunOutcome<Config, Verdict> {
  readonly kind: OutcomeKind;
  readonly ctx: AdapterExecutionContext;
  readonly config: Config;
  readonly verdict: Verdict;
  /** Null when it is not known how the container ended (cancelled before it ran, or after the watch was lost). */
  readonly end: RunEnd | null;
  /** The session that the run was to resume. Of an adopted run: from its Job. */
  readonly sessionId: string | null;
  readonly workingDir: string;
  readonly carry: Readonly<Record<string, string>>;
  readonly adopted: boolean;
  /** How often the run went on in another Job after a disruption, up to this one: then `sessionId` may be the run's own. */
  readonly restarts?: number;
  readonly namespace: string;
  readonly jobName: string;
  /** Since the Job was created (adopted: since it was adopted), in milliseconds. */
  readonly elapsedMs: number;
  readonly lines: number;
  /** Characters of output. */
  readonly characters: number;
  /** Lines known to be lost (rotation, deleted pod). */
  readonly gaps: readonly LogGap[];
  /** Why the log could not be read to its end, or not be understood; absent where it was. */
  readonly logError?: string;
  /** The first line of output that is not blank, cut to 500 characters. */
  readonly firstLine: string | null;
  readonly lastLine: string | null;
}

export type { AdapterExecutionContext, AdapterExecutionResult, AdapterInvocationMeta, BaseConfig };
