import type { AdapterExecutionResult, ServerAdapterModule } from "@paperclipai/adapter-utils";
import { FleetRun } from "../fleet/fleet-run.ts";
import { LineAudit } from "../fleet/line-audit.ts";
import { readDemoLine } from "./scripted-claude.ts";
import type { RunRow } from "./view.ts";

export interface DemoRun {
  index: number;
  agentId: string;
  row: RunRow;
  audit: LineAudit;
  result: AdapterExecutionResult | null;
  /** `succeeded` or the error code. */
  outcome: string;
  /** What `execute` threw, which it never should. */
  thrown: unknown;
}

export interface DemoRunOptions {
  adapter: ServerAdapterModule;
  config: Record<string, unknown>;
  /** The run's row has changed. */
  update: (run: DemoRun) => void;
  signal: AbortSignal;
}

/** Plays the host for one run: calls `execute` as Paperclip does and shows what comes back. */
export function createDemoRun(index: number): DemoRun {
  const agent = `agent-${String(index + 1).padStart(2, "0")}`;
  const row = { agent, phase: "waiting", startedAt: performance.now(), endedAt: null, lines: 0, text: "" };
  const agentId = `demo-${process.pid.toString(36)}${Date.now().toString(36)}-agent-${index}`;
  return { index, agentId, row, audit: new LineAudit({ read: readDemoLine }), result: null, outcome: "", thrown: null };
}

export async function executeDemoRun(run: DemoRun, { adapter, config, update, signal }: DemoRunOptions): Promise<void> {
  const { index, agentId, row, audit } = run;
  row.startedAt = performance.now();
  const show = (change: Partial<RunRow>) => {
    Object.assign(row, change);
    update(run);
  };
  show({ phase: "starting" });
  const order = {
    runId: agentId.replace("agent-", ""),
    agentId,
    taskId: `demo-task-${index}`,
    agentName: row.agent,
    config,
    signal,
  };
  try {
    run.result = await new FleetRun().execute(adapter, order, {
      output: (chunk) => {
        audit.push(chunk);
        showOutput(chunk, show, row);
      },
      note: (text) => showOutput(text, show, row),
      event: (eventType) => {
        if (eventType === "k8s.pod_running") show({ phase: "running" });
      },
    });
  } catch (error) {
    run.thrown = error;
  }
  const { result } = run;
  const isWell = result !== null && (result.exitCode ?? 0) === 0 && result.errorMessage == null && !result.timedOut;
  run.outcome = isWell ? "succeeded" : (result?.errorCode ?? "failed");
  const text = run.thrown !== null ? String(run.thrown) : (result?.errorMessage ?? result?.summary ?? "");
  show({
    phase: isWell ? "succeeded" : "failed",
    endedAt: performance.now(),
    text: isWell ? text : `${run.outcome}: ${text}`,
  });
}

function showOutput(chunk: string, show: (change: Partial<RunRow>) => void, row: RunRow): void {
  for (const line of chunk.split("\n")) {
    if (line === "") continue;
    const text = lastText(line);
    show({ ...(line.startsWith("{") ? { lines: row.lines + 1 } : {}), ...(text === null ? {} : { text }) });
  }
}

/** What a person would want to see of a line of output; null: nothing. */
function lastText(line: string): string | null {
  if (!line.startsWith("{")) return line;
  try {
    const event = JSON.parse(line);
    const text: unknown = event.type === "result" ? event.result : event.message?.content?.[0]?.text;
    return typeof text === "string" ? text : null;
  } catch {
    return null;
  }
}
