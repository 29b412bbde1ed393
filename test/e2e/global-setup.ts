import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestProject } from "vitest/node";
import type { E2eContext } from "./context.ts";
import { provision } from "./provision.ts";
import { startRelay } from "./relay.ts";
import { runAll } from "./support/clean-up.ts";
import { isOnPath } from "./support/shell.ts";
import { dockerEngine } from "./targets/docker.ts";
import { startEmbedded } from "./targets/embedded.ts";
import { startK3s } from "./targets/k3s.ts";
import { startKind } from "./targets/kind.ts";
import { useKubeconfig } from "./targets/kubeconfig.ts";
import { selectTarget } from "./targets/select.ts";
import { OPERATION_NAMES, type Target, type TargetName, TargetUnavailableError } from "./targets/target.ts";

const STARTERS: Record<TargetName, (env: NodeJS.ProcessEnv, signal: AbortSignal) => Promise<Target>> = {
  kubeconfig: useKubeconfig,
  kind: startKind,
  k3s: startK3s,
  embedded: startEmbedded,
};

/** Before the first test: the cluster. Returns what takes it away again, which a signal does too. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const cleanups: (() => Promise<void>)[] = [];
  const ending = new AbortController();
  let started: Promise<void> = Promise.resolve();
  let cleaning: Promise<void> | null = null;
  const cleanUp = (): Promise<void> => {
    cleaning ??= (async () => {
      ending.abort(new Error("the run was ended while its cluster was being made"));
      // What is being made when the run is ended is known only when the start has ended.
      await started.catch(() => undefined);
      await runAll(cleanups.reverse());
    })();
    return cleaning;
  };
  cleanups.push(takeOverSignals(cleanUp));
  started = start(project, cleanups, ending.signal);
  try {
    await started;
    return cleanUp;
  } catch (error) {
    await cleanUp().catch((problem: unknown) => console.error("cleaning up failed:", problem));
    throw error;
  }
}

/** `cleanups` gets what takes away again what was made; a step that fails or is ended takes away its own part itself. */
async function start(project: TestProject, cleanups: (() => Promise<void>)[], signal: AbortSignal): Promise<void> {
  const { env } = process;
  const { name, target } = await startTarget(env, signal);
  cleanups.push(() => target.stop());
  const context = await open(name, target, { env, cleanups, signal });
  project.provide("e2e", context);
  const another = await target.another?.();
  if (another !== undefined) cleanups.push(() => another.stop());
  const disturbed = another === undefined ? context : await open(name, another, { env, cleanups, signal });
  project.provide("disturbed", disturbed);
}

interface Opening {
  readonly env: NodeJS.ProcessEnv;
  readonly cleanups: (() => Promise<void>)[];
  readonly signal: AbortSignal;
}

/** Makes what the tests need in a cluster. */
async function open(name: TargetName, target: Target, { env, cleanups, signal }: Opening): Promise<E2eContext> {
  signal.throwIfAborted();
  const relay = await startRelay(target.operations);
  cleanups.push(() => relay.close());
  const { remove, ...provided } = await provision(target, signal);
  cleanups.push(remove);
  console.log(`e2e namespace: ${provided.namespace}, image: ${target.image}, server: ${target.kubeconfig}`);
  return {
    target: name,
    kubeconfig: target.kubeconfig,
    image: target.image,
    missingImage: target.missingImage,
    timeScale: target.timeScale,
    sideBySide: target.sideBySide,
    ...provided,
    relayUrl: relay.url,
    operations: OPERATION_NAMES.filter((each) => target.operations[each] !== undefined),
    unavailable: target.unavailable,
    traceDirectory: resolve(env.E2E_TRACES || join(tmpdir(), `k8s-run-informer-e2e-${provided.suiteRun}`)),
  };
}

/** One that was merely found may turn out to be unusable (no static busybox, no registry in reach): then the embedded one will do. */
async function startTarget(env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<{ name: TargetName; target: Target }> {
  const { target: name, why, isAskedFor } = await selectTarget({ env, docker: dockerEngine, has: isOnPath });
  console.log(`e2e target: ${name} (${why})`);
  try {
    return { name, target: await STARTERS[name](env, signal) };
  } catch (error) {
    if (isAskedFor || signal.aborted || !(error instanceof TargetUnavailableError)) throw error;
    console.log(`e2e target: embedded instead, since ${error.message}`);
    return { name: "embedded", target: await startEmbedded(env) };
  }
}

/** vitest's own listeners end the process within a millisecond, whatever stands in the cluster. Returns what gives back. */
function takeOverSignals(cleanUp: () => Promise<void>): () => Promise<void> {
  const signals = ["SIGINT", "SIGTERM"] as const;
  const others = signals.map((signal) => [signal, process.listeners(signal)] as const);
  let isSecond = false;
  const onSignal = (signal: NodeJS.Signals) => {
    if (isSecond) process.exit(130);
    isSecond = true;
    console.log(`${signal}: cleaning up; once more to leave everything as it is`);
    cleanUp().then(
      () => process.exit(130),
      (error: unknown) => {
        console.error("cleaning up failed:", error);
        process.exit(1);
      },
    );
  };
  for (const [signal, listeners] of others) {
    for (const listener of listeners) process.off(signal, listener);
    process.on(signal, onSignal);
  }
  return async () => {
    for (const [signal, listeners] of others) {
      // Until the process has ended, a signal during the clean-up is still ours.
      if (!isSecond) process.off(signal, onSignal);
      for (const listener of listeners) if (!isSecond) process.on(signal, listener);
    }
  };
}
