import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestProject } from "vitest/node";
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

const STARTERS: Record<TargetName, (env: NodeJS.ProcessEnv) => Promise<Target>> = {
  kubeconfig: useKubeconfig,
  kind: startKind,
  k3s: startK3s,
  embedded: startEmbedded,
};

/** Before the first test: the cluster. Returns what takes it away again, which a signal does too. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { env } = process;
  const cleanups: (() => Promise<void>)[] = [];
  let cleaning: Promise<void> | null = null;
  const cleanUp = (): Promise<void> => {
    cleaning ??= (async () => {
      for (const clean of cleanups.reverse()) await clean();
    })();
    return cleaning;
  };
  cleanups.push(takeOverSignals(cleanUp));
  try {
    const { name, target } = await startTarget(env);
    cleanups.push(() => target.stop());
    const relay = await startRelay(target.operations);
    cleanups.push(() => relay.close());
    const { remove, ...provided } = await provision(target);
    cleanups.push(remove);
    const traceDirectory = resolve(env.E2E_TRACES || join(tmpdir(), `k8s-run-informer-e2e-${provided.suiteRun}`));
    await mkdir(traceDirectory, { recursive: true });
    project.provide("e2e", {
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
      traceDirectory,
    });
    console.log(`e2e namespace: ${provided.namespace}, image: ${target.image}, server: ${target.kubeconfig}`);
    return cleanUp;
  } catch (error) {
    await cleanUp().catch((problem: unknown) => console.error("cleaning up failed:", problem));
    throw error;
  }
}

/** One that was merely found may turn out to be unusable (no static busybox, no registry in reach): then the embedded one will do. */
async function startTarget(env: NodeJS.ProcessEnv): Promise<{ name: TargetName; target: Target }> {
  const { target: name, why, isAskedFor } = await selectTarget({ env, docker: dockerEngine, has: isOnPath });
  console.log(`e2e target: ${name} (${why})`);
  try {
    return { name, target: await STARTERS[name](env) };
  } catch (error) {
    if (isAskedFor || !(error instanceof TargetUnavailableError)) throw error;
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
