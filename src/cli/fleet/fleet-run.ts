import type { AdapterExecutionContext, AdapterExecutionResult, ServerAdapterModule } from "@paperclipai/adapter-utils";

/** A run as a host orders it. */
export interface FleetOrder {
  readonly runId: string;
  readonly agentId: string;
  readonly taskId: string;
  /** What a person calls the agent. Default: its id. */
  readonly agentName?: string;
  readonly config: Record<string, unknown>;
  readonly authToken?: string;
  readonly signal?: AbortSignal;
}

/** What a host hears of a run. */
export interface FleetListener {
  /** The agent's own output. */
  output?(chunk: string): Promise<void> | void;
  /** The adapter's own words. */
  note?(text: string): void;
  event?(eventType: string): void;
}

const NOTES_KEPT = 12;

/** One call of `execute`, as Paperclip makes it: for demo, soak and benchmarks, where no agent has a session. */
export class FleetRun {
  /** The last of the adapter's own words. */
  readonly notes: string[] = [];
  /** Gaps that the adapter announced. */
  gaps = 0;
  adopted = false;
  /** Of the Job that was created or adopted. */
  jobUid: string | null = null;

  /** Rejects with what `execute` throws, which it never should. */
  execute(
    adapter: ServerAdapterModule,
    { runId, agentId, taskId, agentName = agentId, config, authToken, signal }: FleetOrder,
    listener: FleetListener = {},
  ): Promise<AdapterExecutionResult> {
    const ctx: AdapterExecutionContext = {
      runId,
      agent: { id: agentId, companyId: "fleet", name: agentName, adapterType: adapter.type, adapterConfig: config },
      runtime: { sessionId: null, sessionParams: null, sessionDisplayId: null, taskKey: null },
      config,
      context: { taskId, issueId: taskId },
      ...(authToken === undefined ? {} : { authToken }),
      ...(signal === undefined ? {} : { signal, onCancellationReady: async () => {} }),
      onLog: async (_stream, chunk) => {
        if (!chunk.startsWith("[paperclip] ")) return await listener.output?.(chunk);
        this.#note(chunk.trimEnd());
        listener.note?.(chunk);
      },
      onEvent: async ({ eventType, payload }) => {
        if (eventType === "k8s.job_adopted") this.adopted = true;
        if (typeof payload?.uid === "string") this.jobUid = payload.uid;
        listener.event?.(eventType);
      },
    };
    return adapter.execute(ctx);
  }

  #note(text: string): void {
    if (text.startsWith("[paperclip] Lines of the log are missing")) this.gaps += 1;
    this.notes.push(text);
    if (this.notes.length > NOTES_KEPT) this.notes.shift();
  }
}
