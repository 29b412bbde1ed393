import { randomUUID } from "node:crypto";
import type { AdapterEnvironmentTestContext } from "@paperclipai/adapter-utils";
import type { BaseConfig } from "../config/config.ts";
import type { AdapterDefinition, AgentVerdict, ResultParser } from "../definition.ts";
import { LOOPBACK_HINT } from "../job/reach.ts";
import { type ExecuteOptions, execute } from "../run/execute.ts";
import type { Check } from "./check.ts";

/** A person waits for the answer. A node that an autoscaler has to bring takes longer than this. */
const PROBE_TIMEOUT_MS = 90_000;

/** What the Job said, by name: exit code and words. */
type Answers = ReadonlyMap<string, { readonly code: number; readonly text: string }>;

/**
 * A run as the agent's would be, with the same code: guard, Job, Secret, volumes, log, deletion. Only the command is another: it says
 * whether the CLI is in the image, whether the pod reaches Paperclip, and whether it can write to its directories. Never throws.
 */
export async function probe<Config extends BaseConfig, Verdict extends AgentVerdict>(
  definition: AdapterDefinition<Config, Verdict>,
  ctx: AdapterEnvironmentTestContext,
  options: ExecuteOptions,
): Promise<Check[]> {
  const parser = new ProbeParser();
  const said: string[] = [];
  const result = await execute<Config, AgentVerdict>(
    {
      ...definition,
      resumeSessionId: () => null,
      prepare: async () => ({
        command: ["sh", "-c", script(definition.versionCommand)],
        commandArgs: [],
        prompt: "",
        promptMetrics: {},
      }),
      createResultParser: () => parser,
      isFirstLine: () => true,
      isLastLine: () => false,
      classify: ({ end }) => ({ exitCode: end?.exitCode ?? null, signal: null, timedOut: false }),
    },
    {
      runId: randomUUID(),
      agent: {
        id: "environment-test",
        companyId: ctx.companyId,
        name: "",
        adapterType: definition.type,
        adapterConfig: {},
      },
      runtime: { sessionId: null, sessionParams: null, sessionDisplayId: null, taskKey: null },
      // Beside the runs of others, and not for long.
      config: { ...ctx.config, concurrencyPolicy: "parallel", timeoutSec: 120, apiOutageSec: 1, retainJobs: false },
      context: {},
      signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
      onLog: async (_, chunk) => {
        said.push(chunk.replaceAll("[paperclip] ", "").trim());
      },
    },
    options,
  );
  if (parser.answers.size > 0) return checksOf(parser.answers, definition.versionCommand);
  const isLate = result.errorCode === "cancelled";
  return [
    {
      code: "k8s_probe_failed",
      level: isLate ? "warn" : "error",
      message: isLate ? `The probe did not start within ${PROBE_TIMEOUT_MS / 1000} s` : "The probe could not run",
      detail: isLate ? said.slice(-3).join("\n") : (result.errorMessage ?? `exit code ${result.exitCode}`),
      hint: isLate
        ? "A run waits longer: see scheduleTimeoutSec. Test again when a node is there."
        : "A run fails the same way.",
    },
  ];
}

function checksOf(answers: Answers, command: string | undefined): Check[] {
  const checks: Check[] = [
    {
      code: "k8s_probe_ran",
      level: "info",
      message: "A Job of this configuration ran: image, volumes and Secrets are there",
    },
  ];
  const cli = answers.get("cli");
  if (cli !== undefined && command !== undefined) {
    checks.push(
      cli.code === 0
        ? { code: "k8s_probe_cli", level: "info", message: `In the image: ${command}`, detail: cli.text }
        : {
            code: "k8s_probe_cli",
            level: "error",
            message: `${command} fails in the image`,
            detail: cli.text,
            hint: "Set `image` to one that has it on its PATH, for user 1000.",
          },
    );
  }
  const api = answers.get("api");
  if (api !== undefined) {
    const isUnknown = api.code === NO_TOOL;
    const level = api.code === 0 ? "info" : isUnknown ? "warn" : "error";
    const message =
      level === "info"
        ? "The pod reaches Paperclip's API"
        : isUnknown
          ? "Whether the pod reaches Paperclip's API could not be checked: no curl, wget or node in the image"
          : "The pod does not reach Paperclip's API";
    checks.push({
      code: "k8s_probe_api",
      level,
      message,
      detail: api.text,
      ...(level === "error" && { hint: LOOPBACK_HINT }),
    });
  }
  for (const [name, what] of [
    ["home", "its home"],
    ["cwd", "its working directory"],
  ] as const) {
    const answer = answers.get(name);
    if (answer === undefined || answer.code === 0) continue;
    checks.push({
      code: `k8s_probe_${name}`,
      level: "error",
      message: `The agent cannot write to ${what} ${answer.text}`,
      hint: "It runs as user and group 1000: give that group the right to write on the volume.",
    });
  }
  return checks;
}

/** Exit code of the script's part that asks the API, where the image has nothing to ask with. */
const NO_TOOL = 99;

/** POSIX: an image may have no more than `sh`. Each part prints `probe NAME EXITCODE WORDS` on one line. */
function script(versionCommand: string | undefined): string {
  return `say() { name=$1; code=$2; shift 2; echo "probe $name $code $(echo "$*" | tr '\\n' ' ')"; }
url="$PAPERCLIP_API_URL/api/health"
ask() {
  if command -v curl >/dev/null 2>&1; then curl -sS -m 10 -o /dev/null "$url"
  elif command -v wget >/dev/null 2>&1; then wget -T 10 -O /dev/null "$url"
  elif command -v node >/dev/null 2>&1; then
    node -e 'fetch(process.argv[1], { signal: AbortSignal.timeout(10000) }).catch((e) => { console.error(e.cause?.message ?? e.message); process.exit(1); })' "$url"
  else return ${NO_TOOL}; fi
}
${versionCommand === undefined ? "" : `out=$(${versionCommand} 2>&1); say cli $? "$out"`}
out=$(ask 2>&1); say api $? "$url" "$out"
out=$(touch "$HOME/.probe-$$" 2>&1 && rm "$HOME/.probe-$$" 2>&1); say home $? "$HOME" "$out"
out=$(touch "./.probe-$$" 2>&1 && rm "./.probe-$$" 2>&1); say cwd $? "$PWD" "$out"
`;
}

class ProbeParser implements ResultParser<AgentVerdict> {
  readonly answers = new Map<string, { code: number; text: string }>();

  push(line: string): null {
    const [, name, code, text = ""] = /^probe (\w+) (\d+) ?(.*)$/.exec(line) ?? [];
    if (name !== undefined) this.answers.set(name, { code: Number(code), text: text.trim().slice(0, 500) });
    return null;
  }

  finish(): AgentVerdict {
    const hasResult = this.answers.size > 0;
    return { hasResult, isSuccess: hasResult, sessionId: null, model: null, usage: null, costUsd: null, summary: null };
  }
}
