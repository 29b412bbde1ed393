import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import { stringifyPaperclipWakePayload } from "@paperclipai/adapter-utils/server-utils";
import { isRecord, storable } from "../../json/read-json.ts";
import type { BaseConfig } from "../config/config.ts";
import { DATA_DIRECTORY, type Notice, SCRATCH_DIRECTORY } from "../definition.ts";
import { ConfigError } from "../errors.ts";
import { bindingOf, isCredential, mayBeSecret } from "./credentials.ts";
import { isLoopback } from "./reach.ts";
import type { SelfPod } from "./self-pod.ts";
import { isServerSecret, refersToServerSecret, SERVER_SECRETS } from "./server-secrets.ts";

export interface EnvEntry {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: Record<string, unknown>;
}

export interface ContainerEnvironment {
  /** In the order of the layers; credentials refer to the run Secret. */
  readonly entries: readonly EnvEntry[];
  /** What `entries` refers to, by key of the run Secret. */
  readonly secretData: Readonly<Record<string, string>>;
  readonly notices: readonly Notice[];
}

export interface EnvironmentInput {
  readonly ctx: AdapterExecutionContext;
  readonly config: BaseConfig;
  readonly selfPod: SelfPod | null;
  /** What the definition adds. */
  readonly extra: Readonly<Record<string, string>>;
  readonly secretExtra: readonly string[];
  readonly secretName: string;
  /** The server's own environment. */
  readonly serverEnv: NodeJS.ProcessEnv;
}

/**
 * Linux refuses to start a process one of whose environment strings (`NAME=value` with its final NUL) is longer than
 * MAX_ARG_STRLEN: E2BIG, exit code 255 and no output. A Secret behind the variable changes nothing about that.
 */
const MAX_ENV_STRING_BYTES = 131_072;

/**
 * The agent's environment, later layers over earlier ones: the server's own literals but for its secrets, Paperclip's variables, the
 * definition's, the operator's, `HOME`. What Paperclip sets for this run is not overridden by the operator's, but for the
 * API's address; what the host adds for processes on its own disk (scratch directories and the like) is left out.
 *
 * @throws ConfigError when a value of the operator's is too large for any process
 */
export function buildEnvironment(input: EnvironmentInput): ContainerEnvironment {
  const { ctx, config, selfPod, extra, secretExtra, secretName, serverEnv } = input;
  const { inherited, references, blanks } = inheritedFrom(selfPod);
  const runtime = paperclipVariables(ctx, inherited, serverEnv);
  const operators = operatorVariables(ctx, config.env);
  const notices: Notice[] = [];
  for (const [name, value] of Object.entries(operators)) {
    if (isTooLarge(name, value))
      throw new ConfigError(
        `env.${name}`,
        value,
        `at most ${MAX_ENV_STRING_BYTES} bytes with its name (Linux refuses more)`,
      );
  }
  const layers = new Map<string, string>();
  const put = (variables: Readonly<Record<string, string>>): void => {
    for (const [name, value] of Object.entries(variables)) {
      if (!isTooLarge(name, value)) layers.set(name, value);
      else
        notices.push({
          stream: "stderr",
          text: `${name} is left out: ${Buffer.byteLength(value)} bytes are more than Linux lets a variable have`,
        });
    }
  };
  put(inherited);
  put(SCRATCH_VARIABLES);
  put(runtime);
  put(extra);
  put(operators);
  const { PAPERCLIP_API_URL: _, AGENT_HOME: __, ...fixed } = runtime;
  for (const [name, value] of Object.entries(fixed))
    if (layers.has(name) && !isTooLarge(name, value)) layers.set(name, value);
  layers.set("HOME", DATA_DIRECTORY);
  if (config.docker !== null) layers.set("DOCKER_HOST", "unix:///var/run/docker.sock");

  const secretNames = new Set(secretExtra);
  for (const name of mayBeSecret(ctx, operators)) if (layers.get(name) === operators[name]) secretNames.add(name);
  const secretData: Record<string, string> = {};
  // References first: Kubernetes puts in for `$(NAME)` only what stands before, as it may have in the server's pod.
  const entries: EnvEntry[] = [...blanks, ...references].filter(({ name }) => !layers.has(name));
  for (const [name, value] of layers) {
    // In the server's own pod the literal may refer to other variables, which only Kubernetes can put in.
    const isTemplate = inherited[name] === value;
    const isSecret = (secretNames.has(name) || isCredential(name, value)) && !(isTemplate && value.includes("$("));
    if (!isSecret) {
      entries.push({ name, value: isTemplate ? value : escapeReferences(value) });
      continue;
    }
    const key = secretKeyOf(name, entries.length);
    secretData[key] = isTemplate ? value.replaceAll("$$", "$") : value;
    entries.push({ name, valueFrom: { secretKeyRef: { name: secretName, key } } });
  }
  return { entries, secretData, notices };
}

/** What the agent has of the server's own environment: all but the server's secrets. */
function inheritedFrom(selfPod: SelfPod | null): {
  inherited: Record<string, string>;
  references: readonly EnvEntry[];
  blanks: readonly EnvEntry[];
} {
  const literals = Object.entries(selfPod?.env ?? {}).filter(([name]) => !isServerSecret(name));
  const references = (selfPod?.envValueFrom ?? []).filter(
    ({ name, valueFrom }) => !isServerSecret(name) && !refersToServerSecret(valueFrom),
  );
  // A whole Secret may hold them, too, and what is named in `env` goes before `envFrom`.
  const names = (selfPod?.envFrom ?? []).length > 0 ? SERVER_SECRETS : [];
  return { inherited: Object.fromEntries(literals), references, blanks: names.map((name) => ({ name, value: "" })) };
}

/** The default prompt names these directories; the host's values are paths on the server. */
const SCRATCH_VARIABLES = Object.fromEntries(
  ["TMPDIR", "PAPERCLIP_SCRATCH_DIR", "PAPERCLIP_RUN_SCRATCH_DIR", "PAPERCLIP_TASK_SCRATCH_DIR"].map((name) => [
    name,
    SCRATCH_DIRECTORY,
  ]),
);

function isTooLarge(name: string, value: string): boolean {
  // One "=" and the final NUL.
  return Buffer.byteLength(name) + Buffer.byteLength(value) + 2 > MAX_ENV_STRING_BYTES;
}

/** Keys of a Secret are `[-._a-zA-Z0-9]+`; the prefix keeps them apart from file names. */
function secretKeyOf(name: string, index: number): string {
  return /^[-._a-zA-Z0-9]{1,200}$/.test(name) ? `env.${name}` : `env.${index}`;
}

/**
 * The kubelet replaces `$(NAME)` in `env`, `command` and `args`, and `$$` by `$`: what shall arrive as it is has its dollar
 * signs doubled where either would happen.
 */
export function escapeReferences(text: string): string {
  return text.replace(/\$+(?=\()|\$\$+/g, (dollars) => dollars + dollars);
}

/** `PAPERCLIP_*` and `AGENT_HOME`, blanks left out. */
function paperclipVariables(
  ctx: AdapterExecutionContext,
  inherited: Readonly<Record<string, string>>,
  serverEnv: NodeJS.ProcessEnv,
): Record<string, string> {
  const { agent, context, runId, authToken } = ctx;
  const workspace = isRecord(context.paperclipWorkspace) ? context.paperclipWorkspace : {};
  const issueIds = Array.isArray(context.issueIds)
    ? context.issueIds.filter((id) => typeof id === "string" && id.trim() !== "")
    : [];
  const all: Record<string, unknown> = {
    PAPERCLIP_AGENT_ID: agent.id,
    PAPERCLIP_COMPANY_ID: agent.companyId,
    PAPERCLIP_API_URL: apiUrlFor(inherited, serverEnv),
    PAPERCLIP_RUN_ID: runId,
    PAPERCLIP_TASK_ID: taskIdOf(context),
    PAPERCLIP_WAKE_REASON: context.wakeReason,
    PAPERCLIP_WAKE_COMMENT_ID: textOf(context.wakeCommentId) ?? context.commentId,
    PAPERCLIP_APPROVAL_ID: context.approvalId,
    PAPERCLIP_APPROVAL_STATUS: context.approvalStatus,
    PAPERCLIP_WAKE_PAYLOAD_JSON: stringifyPaperclipWakePayload(context.paperclipWake),
    PAPERCLIP_WORKSPACE_CWD: workspace.cwd,
    PAPERCLIP_WORKSPACE_SOURCE: workspace.source,
    PAPERCLIP_WORKSPACE_STRATEGY: workspace.strategy,
    PAPERCLIP_WORKSPACE_ID: workspace.workspaceId,
    PAPERCLIP_WORKSPACE_REPO_URL: workspace.repoUrl,
    PAPERCLIP_WORKSPACE_REPO_REF: workspace.repoRef,
    PAPERCLIP_WORKSPACE_BRANCH: workspace.branchName,
    PAPERCLIP_WORKSPACE_WORKTREE_PATH: workspace.worktreePath,
    AGENT_HOME: workspace.agentHome,
    PAPERCLIP_LINKED_ISSUE_IDS: issueIds.join(","),
    PAPERCLIP_WORKSPACES_JSON: jsonOf(context.paperclipWorkspaces),
    PAPERCLIP_RUNTIME_SERVICE_INTENTS_JSON: jsonOf(context.paperclipRuntimeServiceIntents),
    PAPERCLIP_RUNTIME_SERVICES_JSON: jsonOf(context.paperclipRuntimeServices),
    PAPERCLIP_RUNTIME_PRIMARY_URL: context.paperclipRuntimePrimaryUrl,
    PAPERCLIP_API_KEY: authToken,
  };
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(all)) {
    const text = textOf(value);
    if (text !== null) variables[name] = storable(text);
  }
  return variables;
}

export function taskIdOf(context: Record<string, unknown>): string | null {
  return textOf(context.taskId) ?? textOf(context.issueId);
}

function textOf(value: unknown): string | null {
  return typeof value === "string" && value.trim() !== "" ? value.trim() : null;
}

function jsonOf(value: unknown): string | null {
  return Array.isArray(value) && value.length > 0 ? JSON.stringify(value) : null;
}

/** Where an agent of this configuration finds Paperclip's API. */
export function agentApiUrl(
  { env }: Pick<BaseConfig, "env">,
  selfPod: Pick<SelfPod, "env"> | null,
  serverEnv: NodeJS.ProcessEnv,
): string {
  return env.PAPERCLIP_API_URL ?? apiUrlFor(selfPod?.env ?? {}, serverEnv);
}

/**
 * Where a pod finds Paperclip's API. What the Deployment says goes before what the server made out for itself, which is its
 * own loopback address where it was given no other.
 */
function apiUrlFor(inherited: Readonly<Record<string, string>>, serverEnv: NodeJS.ProcessEnv): string {
  return inherited.PAPERCLIP_API_URL?.trim() || localApiUrl(serverEnv);
}

/** Where the server finds itself, as adapter-utils' `buildPaperclipEnv` has it. */
export function localApiUrl(serverEnv: NodeJS.ProcessEnv): string {
  const told = serverEnv.PAPERCLIP_API_URL ?? serverEnv.PAPERCLIP_RUNTIME_API_URL;
  if (told !== undefined) return told;
  const host = (serverEnv.PAPERCLIP_LISTEN_HOST ?? serverEnv.HOST ?? "localhost").trim();
  const named =
    host === "" || host === "0.0.0.0" || host === "::"
      ? "localhost"
      : host.includes(":") && !host.startsWith("[")
        ? `[${host}]`
        : host;
  return `http://${named}:${serverEnv.PAPERCLIP_LISTEN_PORT ?? serverEnv.PORT ?? "3100"}`;
}

/** The same URL at the address that pods can reach, when it is one of the server's own. Anything else is left as it is. */
export function reachableUrl(url: string, apiUrl: string, serverEnv: NodeJS.ProcessEnv): string {
  let parsed: URL;
  let target: URL;
  try {
    parsed = new URL(url);
    target = new URL(apiUrl);
  } catch {
    return url;
  }
  const local = URL.canParse(localApiUrl(serverEnv)) ? new URL(localApiUrl(serverEnv)).origin : null;
  if (!isLoopback(url) && parsed.origin !== local) return url;
  parsed.protocol = target.protocol;
  parsed.host = target.host;
  if (target.port === "") parsed.port = "";
  return parsed.href;
}

/** Paths on the server's disk and modes of its launcher, which the host adds to every agent's `env`. */
const HOST_KEYS = new Set([
  "TMPDIR",
  "TEMP",
  "TMP",
  "PAPERCLIP_SCRATCH_DIR",
  "PAPERCLIP_RUN_SCRATCH_DIR",
  "PAPERCLIP_TASK_SCRATCH_DIR",
  "PAPERCLIP_TMPDIR",
  "GH_CONFIG_DIR",
  "PAPERCLIP_GITHUB_HOST_HOME",
  "PAPERCLIP_GIT_METADATA_ROOTS",
  "PAPERCLIP_GITHUB_AUTH_MODE",
]);

/** Without the host's own additions, unless the operator asked for exactly that value. */
function operatorVariables(
  ctx: AdapterExecutionContext,
  env: Readonly<Record<string, string>>,
): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (HOST_KEYS.has(name) || name.startsWith("PAPERCLIP_RUNNER_NETWORK_")) {
      const binding = bindingOf(ctx, name);
      const asked = isRecord(binding) ? binding.value : binding;
      if (asked !== value) continue;
    }
    variables[name] = value;
  }
  return variables;
}
