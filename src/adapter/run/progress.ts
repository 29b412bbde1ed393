import type { KeepaliveHandle, PhaseChange, Run, RunEngine, Silence } from "../../engine/index.ts";
import type { RunLog } from "../host/run-log.ts";

/** Lines for people about where the run stands: each change once, and a sign of life after silence. */
export function tellProgress(run: Run, engine: RunEngine, log: RunLog, keepaliveSec: number): KeepaliveHandle {
  const { namespace, jobName } = run;
  let told = "";
  const tell = ({ phase, text }: PhaseChange) => {
    if (text === told || phase === "unknown" || phase === "ended" || phase === "gone") return;
    told = text;
    log.say("stdout", text);
  };
  run.on("phase", tell);
  run.on("pod", ({ pod, previous }) => {
    const why = previous.status.reason ?? "it ended early";
    log.say("stderr", `Pod ${pod.metadata.name} took the place of ${previous.metadata.name}: ${why}`);
  });
  const onSilence = ({ silentMs, liveness, unknownSince }: Silence) => {
    const since = unknownSince === null ? "" : ` since ${new Date(unknownSince).toISOString()}`;
    const { isDown, problem } = engine.server;
    const why = isDown || problem === null ? "the connection to the API server is down" : problem.message;
    const unknown = `is in an unknown state${since}: ${why}, trying again`;
    const state = liveness === "alive" ? "is alive" : unknown;
    log.say("stdout", `Job ${namespace}/${jobName} ${state} (no output for ${Math.round(silentMs / 1000)}s)`);
  };
  const keepalive = engine.keepalive.watch(run, { everyMs: keepaliveSec * 1000, onSilence });
  tell(run.phase());
  return keepalive;
}
