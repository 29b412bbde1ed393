import type { KeepaliveHandle, PhaseChange, Run, RunEngine, Silence } from "../../engine/index.ts";
import type { RunLog } from "../host/run-log.ts";

/** A state before the container runs is reported once it has lasted for so long: most pass within a second. */
const STANDS_MS = 2_000;

/** Lines for people about where the run stands: that it runs, what holds it up before, and a sign of life after silence. */
export function tellProgress(run: Run, engine: RunEngine, log: RunLog, keepaliveSec: number): KeepaliveHandle {
  const { namespace, jobName } = run;
  let told = "";
  let timer: NodeJS.Timeout | undefined;
  const tell = ({ phase, text }: PhaseChange) => {
    clearTimeout(timer);
    timer = undefined;
    if (text === told || phase === "unknown" || phase === "ended" || phase === "gone") return;
    told = text;
    const node = phase === "running" ? run.pod()?.spec.nodeName : undefined;
    // The Job's name stands in the line before.
    log.say("stdout", `${text.replace(`${jobName}-`, "…")}${node === undefined ? "" : ` on ${node}`}`);
  };
  const onPhase = (change: PhaseChange) => {
    if (change.phase === "running" || change.phase === "deleting") tell(change);
    else timer ??= setTimeout(() => tell(run.phase()), STANDS_MS).unref();
  };
  run.on("phase", onPhase);
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
  onPhase(run.phase());
  return {
    touch: () => keepalive.touch(),
    stop: () => {
      clearTimeout(timer);
      run.off("phase", onPhase);
      keepalive.stop();
    },
  };
}
