/** The recipe of docs/library.md for Kueue: a Job with a queue's name is suspended until it is admitted, and again when it is preempted. */
import { expect, it, onTestFinished } from "vitest";
import type { EmbeddedKubernetes, StoredObject } from "../../../src/embedded/index.ts";
import { type JobManifest, RunEngine } from "../../../src/engine/index.ts";
import { kubeConfigOf, LABELS, NAMESPACE, startKubernetes } from "./harness.ts";

const QUEUE = "kueue.x-k8s.io/queue-name";

interface JobSpec {
  suspend?: boolean;
}

/** What Kueue does to Jobs, as the API shows it: suspended at their creation, resumed when there is room. */
class Queue {
  readonly #k8s: EmbeddedKubernetes;

  constructor(k8s: EmbeddedKubernetes) {
    this.#k8s = k8s;
    k8s.objects.onCreate((resource, draft) => {
      if (resource === "jobs" && draft.metadata.labels?.[QUEUE] !== undefined) (draft.spec as JobSpec).suspend = true;
    });
  }

  admit(name: string): void {
    this.#set(name, false);
  }

  preempt(name: string): void {
    this.#set(name, true);
  }

  jobs(): StoredObject[] {
    return this.#k8s.objects.list("jobs", NAMESPACE);
  }

  #set(name: string, suspend: boolean): void {
    this.#k8s.objects.update("jobs", NAMESPACE, name, ({ spec }) => {
      (spec as JobSpec).suspend = suspend;
    });
  }
}

function queued(name: string): JobManifest {
  return {
    metadata: { name, labels: { [QUEUE]: "agents" } },
    spec: {
      backoffLimit: 0,
      template: { spec: { restartPolicy: "Never", containers: [{ name: "main", image: "x" }] } },
    },
  };
}

async function start(k8s: EmbeddedKubernetes): Promise<RunEngine> {
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  return engine;
}

it("a Job waits for its admission, for as long as that takes, and is then a run as any other", async () => {
  const k8s = await startKubernetes({ timeScale: 10 });
  const queue = new Queue(k8s);
  k8s.addProgram("main", async function* (container) {
    yield container.pod.labels["job-name"] ?? "";
  });
  const engine = await start(k8s);
  const lines: string[] = [];
  const runs = ["a", "b"].map((name) => engine.run(queued(name), { onLine: ({ text }) => lines.push(text) }));
  await k8s.objects.until(() => queue.jobs().length === 2);
  const waiting = engine.attach({ jobName: "b" });
  queue.admit("a");
  expect(await runs[0]).toMatchObject({ hasSucceeded: true, lines: 1 });
  // No limit counts meanwhile: `classify.test.ts` has the time for that.
  expect(waiting.phase()).toMatchObject({ phase: "suspended" });
  expect(waiting.liveness()).toBe("alive");
  expect(k8s.objects.list("pods", NAMESPACE).filter(({ metadata }) => metadata.labels?.["job-name"] === "b")).toEqual(
    [],
  );
  queue.admit("b");
  expect(await runs[1]).toMatchObject({ hasSucceeded: true, lines: 1 });
  expect(lines).toEqual(["a", "b"]);
});

it("one that is preempted gives up its pod, and goes on with another when it is admitted again", async () => {
  const k8s = await startKubernetes({ timeScale: 10 });
  const queue = new Queue(k8s);
  let pods = 0;
  k8s.addProgram("main", async function* (container) {
    pods += 1;
    yield `pod ${pods}`;
    if (pods === 1) await container.sleep(3_600_000, { interruptible: true });
    yield "done";
  });
  const engine = await start(k8s);
  const lines: string[] = [];
  const { promise: first, resolve } = Promise.withResolvers<void>();
  const run = engine.run(queued("a"), {
    onLine: ({ text }) => {
      lines.push(text);
      resolve();
    },
  });
  await k8s.objects.until(() => queue.jobs().length === 1);
  queue.admit("a");
  await first;
  queue.preempt("a");
  await k8s.objects.until(() => k8s.objects.list("pods", NAMESPACE).length === 0);
  queue.admit("a");
  expect(await run).toMatchObject({ hasSucceeded: true, end: { kind: "succeeded", exitCode: 0 } });
  expect(lines[0]).toBe("pod 1");
  expect(lines.slice(-2)).toEqual(["pod 2", "done"]);
});
