import type { EngineView } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import type { AgentVerdict } from "../definition.ts";
import { publishDecision, publishStart } from "../diagnostics.ts";
import { BootstrapError } from "../errors.ts";
import { eventTo, type TellEvent } from "../host/callbacks.ts";
import { bounded } from "../wait.ts";
import { adopt } from "./adopt.ts";
import { type GuardInput, LOOK_AGAIN_MS, openGuardView, passGuard, pause, WAIT_TIMEOUT_MS } from "./guard.ts";
import { launchFresh } from "./launch-fresh.ts";
import { deleteUndeleted } from "./left-jobs.ts";
import type { Adoption } from "./orphans.ts";
import { patiently } from "./outage.ts";
import { acquireLock, agentKeyOf, processState } from "./process-state.ts";
import { AdoptedElsewhereError } from "./reattach.ts";
import { newcomerOf, type RunInput, type Started } from "./run-input.ts";

/** How patient the guard is. */
export interface GuardPatience {
  readonly listTimeoutMs: number;
  readonly cacheMaxAgeMs: number;
}

/**
 * Guard, then creation or adoption; one at a time for one agent, so that no other run of this process comes between.
 * @throws BootstrapError and everything `toBootstrapError` knows; the signal's reason
 */
export async function start<Config extends BaseConfig, Verdict extends AgentVerdict>(
  input: RunInput<Config, Verdict>,
  looks: GuardPatience,
): Promise<Started> {
  const { definition, ctx, config, site, signal, log, agentLabel } = input;
  const sessionId = definition.resumeSessionId(ctx, config);
  const { engine, namespace } = site;
  const agentKey = agentKeyOf(engine.cluster.server, namespace, agentLabel);
  const event = eventTo(ctx, input.redactor);
  const signs = signsOfLife(input);
  let release: (() => void) | null = null;
  let view: EngineView | null = null;
  const attempt = async (): Promise<Started> => {
    view ??= await openGuardView(engine, { namespace, agentId: agentLabel, signal, timeoutMs: looks.listTimeoutMs });
    const guard: GuardInput = {
      ...looks,
      engine,
      view,
      namespace,
      containerName: definition.containerName,
      newcomer: newcomerOf(input, sessionId),
      ownership: site.ownership,
      owners: new Map(),
      endedAt: new Map(),
      config,
      signal,
      patience: input.patience,
      say: (stream, text) => log.say(stream, text),
      waitsFor: (text, payload) => {
        log.say("stdout", text);
        event("k8s.waiting", text, payload);
        publishStart({ type: "decision", decision: "wait", code: null });
      },
    };
    while (true) {
      const say = (text: string) => log.say("stdout", text);
      await deleteUndeleted({ engine, namespace, ownership: site.ownership, signal, say }, agentKey);
      const passage = await publishDecision(passGuard(guard));
      const started =
        passage.kind === "adopt" ? await tryToAdopt(input, guard, passage) : await launchFresh(input, guard, sessionId);
      if (started === null) continue;
      if (started.run.uid !== null) processState().active.add(started.run.uid);
      return started;
    }
  };
  try {
    release = await queue(input, agentKey, event);
    return await patiently(engine, input.patience, attempt);
  } finally {
    clearInterval(signs);
    (view as EngineView | null)?.close();
    release?.();
  }
}

/** @returns null when another process was first, and the run waits: the guard has to decide again */
async function tryToAdopt<Config extends BaseConfig, Verdict extends AgentVerdict>(
  input: RunInput<Config, Verdict>,
  guard: GuardInput,
  adoption: Adoption,
): Promise<Started | null> {
  try {
    return await adopt(input, guard, adoption);
  } catch (error) {
    if (!(error instanceof AdoptedElsewhereError) || input.config.concurrencyPolicy !== "wait") throw error;
    await pause(LOOK_AGAIN_MS, guard.signal);
    return null;
  }
}

/** The host calls a run silent that says nothing for an hour; one that waits in line may do so for longer. */
function signsOfLife<Config extends BaseConfig, Verdict extends AgentVerdict>({
  config,
  log,
  patience,
}: RunInput<Config, Verdict>): NodeJS.Timeout {
  const say = () => {
    const minutes = Math.round((performance.now() - patience.askedAt) / 60_000);
    log.say("stdout", `Still waiting to start, for ${minutes} min now`);
  };
  return setInterval(say, Math.min(config.keepaliveSec, 3_600) * 1000).unref();
}

/** The agent's lock, within the limit of `concurrencyPolicy: wait`: runs that are before may wait so long themselves. */
async function queue<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { ctx, signal, log }: RunInput<Config, Verdict>,
  key: string,
  event: TellEvent,
): Promise<() => void> {
  const late = () =>
    new BootstrapError({
      code: "k8s_concurrent_run_blocked",
      message: `Other runs of this agent have been waiting to start for ${WAIT_TIMEOUT_MS / 3_600_000} hours.`,
      family: "transient_upstream",
    });
  const { holders } = processState();
  const onWait = () => {
    const holder = holders.get(key);
    const who = holder === undefined ? "" : ` (run ${holder})`;
    const text = `Waiting for another run of this agent that is about to start${who}`;
    log.say("stdout", text);
    event("k8s.waiting", text, { runId: holder });
  };
  const release = await bounded({ signal, ms: WAIT_TIMEOUT_MS, late }, (limited) => acquireLock(key, limited, onWait));
  holders.set(key, ctx.runId);
  return () => {
    holders.delete(key);
    release();
  };
}
