import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestProject } from "vitest/node";
import type { E2eContext } from "./context.ts";
import { provision } from "./provision.ts";
import { startRelay } from "./relay.ts";
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
  const { env } = process;
  const cleanups: (() => Promise<void>)[] = [];
  const starting = new AbortController();
  let started: Promise<unknown> = Promise.resolve();
  let cleaning: Promise<void> | null = null;
  const cleanUp = (): Promise<void> => {
    cleaning ??= (async () => {
      starting.abort(new Error("the run was ended while its cluster was being made"));
      // A start that was ended takes away itself what it has made.
      await started.catch(() => undefined);
      await runAll(cleanups.reverse());
    })();
    return cleaning;
  };
  cleanups.push(takeOverSignals(cleanUp));
  try {
    const start = startTarget(env, starting.signal);
    started = start;
    const { name, target } = await start;
    cleanups.push(() => target.stop());
    starting.signal.throwIfAborted();
    const context = await open(name, target, env, cleanups);
    project.provide("e2e", context);
    const another = await target.another?.();
    if (another !== undefined) cleanups.push(() => another.stop());
    project.provide("disturbed", another === undefined ? context : await open(name, another, env, cleanups));
    return cleanUp;
  } catch (error) {
    await cleanUp().catch((problem: unknown) => console.error("cleaning up failed:", problem));
    throw error;
  }
}

/** Makes what the tests need in a cluster. `cleanups` gets what takes it away again. */
async function open(
  name: TargetName,
  target: Target,
  env: NodeJS.ProcessEnv,
  cleanups: (() => Promise<void>)[],
): Promise<E2eContext> {
  const relay = await startRelay(target.operations);
  cleanups.push(() => relay.close());
  const { remove, ...provided } = await provision(target);
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

/** Each, whatever became of those before it. @throws AggregateError of all that failed */
async function runAll(cleanups: readonly (() => Promise<void>)[]): Promise<void> {
  const problems: unknown[] = [];
  for (const clean of cleanups) await clean().catch((problem: unknown) => problems.push(problem));
  if (problems.length > 0) throw new AggregateError(problems, `${problems.length} clean-up step(s) failed`);
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
