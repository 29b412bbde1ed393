import { describe, expect, it } from "vitest";
import { Clock } from "../../../src/embedded/clock.ts";
import { Controllers } from "../../../src/embedded/controllers/controllers.ts";
import type { NodeOptions } from "../../../src/embedded/kubelet/nodes.ts";
import type { ScriptedProgram } from "../../../src/embedded/kubelet/programs.ts";
import type { NewObject } from "../../../src/embedded/objects/objects.ts";
import { type JobSpec, type Pod, podOf } from "../../../src/embedded/objects/workloads.ts";
import { disruptionTarget, disruptPod } from "../../../src/embedded/store/disruption.ts";
import { ObjectStore } from "../../../src/embedded/store/store.ts";
import { type Frame, readTrace, type State, statesOf } from "./recorded-trace.ts";

/** What the containers' shell loops did; the other commands are plain enough for the built-in shell. */
const fiveLines: ScriptedProgram = async function* (container) {
  for (let line = 1; line <= 5; line++) {
    yield `line ${line}`;
    await container.sleep(500);
  }
};
const forever: ScriptedProgram = async function* (container) {
  for (;;) {
    yield new Date(container.now()).toISOString();
    await container.sleep(1000);
  }
};

/** The fixture image's `lines COUNT MICROSECONDS _ EXIT`. */
const lines: ScriptedProgram = async function* ({ command: [, count, micros, , exitCode = "0"], sleep }) {
  for (let line = 1; line <= Number(count); line++) {
    yield `line ${line}`;
    await sleep(Number(micros) / 1000, { interruptible: true });
  }
  return Number(exitCode);
};
/** Exits with the first code at its first start, with the second at its second, and so on. */
function exitsAfter(ms: number, ...codes: number[]): ScriptedProgram {
  return async function* ({ restartCount, sleep }) {
    yield `try ${restartCount + 1}`;
    await sleep(ms);
    return codes[restartCount];
  };
}
const endsSlowlyOnTerm: ScriptedProgram = async function* ({ sleep, signal }) {
  try {
    await sleep(6_000, { interruptible: true });
    return 0;
  } catch (error) {
    if (!signal.aborted) throw error;
    await sleep(4_000);
    yield "bye";
    return 5;
  }
};

interface Scenario {
  programs?: Record<string, ScriptedProgram>;
  /** Nodes on which requests are summed up. Default: one that takes everything. */
  nodes?: NodeOptions[];
  /** Recorded on another machine in another year: its pods started faster. */
  isSecondRecording?: boolean;
  /** What was done to the pod when the frame was seen, and so many milliseconds before it. */
  act?: { at: (frame: Frame) => boolean; run: (store: ObjectStore, pod: Pod, controllers: Controllers) => void };
  missingImages?: string[];
  /** The user deletes the pod when the recording's user did. */
  deletesPod?: boolean;
  /** Job and pod frames closer than this stand in an order of chance. Default 50. */
  chanceMs?: number;
}

const scenarios: Record<string, Scenario> = {
  succeeds: { programs: { claude: fiveLines } },
  fails: {},
  "fails-at-once": {},
  "init-fails": {},
  // Two of the last of twelve Jobs that were made at once: the controller came to their first status 0.3 s late.
  "native-sidecar": { chanceMs: 300 },
  deadline: { programs: { claude: forever } },
  deleted: { programs: { claude: forever } },
  "pod-deleted": { programs: { claude: forever }, deletesPod: true },
  "image-missing": { missingImages: ["local/does-not-exist:1"] },
  "init-image-missing": { missingImages: ["local/nope:1"] },
  "bad-config": { chanceMs: 300 },
  unschedulable: {},
  // The controller came to the Job 9 s after its creation, and then was slow with its status.
  "restart-rules": { isSecondRecording: true, programs: { claude: exitsAfter(2_000, 42, 42, 0) }, chanceMs: 100 },
  "container-onfailure": { isSecondRecording: true, programs: { claude: exitsAfter(2_000, 1, 0) } },
  "onfailure-restarts": { isSecondRecording: true, programs: { claude: exitsAfter(1_000, 9, 9, 0) } },
  "failjob-42": { isSecondRecording: true, programs: { claude: lines } },
  "pod-deadline": { isSecondRecording: true, programs: { claude: lines } },
  "ttl-0": { isSecondRecording: true, programs: { claude: lines } },
  "replacement-failed": { isSecondRecording: true, programs: { claude: endsSlowlyOnTerm }, deletesPod: true },
  "ignore-disruption": {
    isSecondRecording: true,
    programs: { claude: lines },
    act: {
      at: hasText("DisruptionTarget"),
      run: (store, pod) => {
        const target = disruptionTarget("EvictionByEvictionAPI", "Eviction API: evicting", store.now());
        disruptPod(store, pod, target, "kube-apiserver");
      },
    },
  },
  preempted: {
    isSecondRecording: true,
    programs: { claude: lines },
    nodes: [{ name: "small", cpu: "2" }],
    act: {
      at: hasText("DisruptionTarget"),
      run: (store) => {
        store.create("priorityclasses", { metadata: { name: "high" }, value: 1000 });
        const containers = [{ name: "urgent", image: "app:1", resources: { requests: { cpu: "1200m" } } }];
        store.create("pods", {
          metadata: { name: "urgent", namespace: "traces" },
          spec: { priorityClassName: "high", containers },
        });
      },
    },
  },
  gated: {
    isSecondRecording: true,
    programs: { claude: lines },
    act: {
      at: ({ object }) => object.metadata.generation === 2,
      run: (store, { metadata }) => {
        store.update("pods", metadata.namespace, metadata.name, (draft) => {
          delete podOf(draft).spec.schedulingGates;
        });
      },
    },
  },
  "init-oom": {
    isSecondRecording: true,
    programs: { eat: forever, claude: lines },
    act: {
      at: hasText("OOMKilled"),
      run: (_store, { metadata }, controllers) => controllers.oomKill("traces", metadata.name, "eat"),
    },
  },
};

function hasText(text: string): (frame: Frame) => boolean {
  return ({ resource, object }) => resource === "pods" && JSON.stringify(object.status).includes(text);
}

describe.each(Object.entries(scenarios))("the recorded scenario %s", (name, scenario) => {
  it("is reproduced: the same Job states, the same pod states, in the same order", async () => {
    const recorded = readTrace(name);
    const frames = await replay(recorded, scenario);
    const { isSecondRecording } = scenario;
    const textsOf = (from: readonly Frame[], resource: "jobs" | "pods") =>
      texts(statesOf(from, resource, isSecondRecording));
    expect(textsOf(frames, "jobs")).toEqual(textsOf(recorded, "jobs"));
    expect(textsOf(frames, "pods")).toEqual(textsOf(recorded, "pods"));
    expect(interleaving(frames, isSecondRecording)).toEqual(
      expect.arrayContaining(apart(recorded, scenario.chanceMs, isSecondRecording)),
    );
    expect(accounting(frames)).toEqual(accounting(recorded));
  });
});

it("tells states apart by conditions, container states and finalizers", () => {
  const frames = readTrace("fails");
  const changed = structuredClone(frames);
  const ended = changed.find((frame) => JSON.stringify(frame.object.status).includes('"exitCode":3')) as Frame;
  ended.object.status = JSON.parse(JSON.stringify(ended.object.status).replace('"exitCode":3', '"exitCode":4'));
  expect(texts(statesOf(changed, "pods"))).not.toEqual(texts(statesOf(frames, "pods")));
  const released = structuredClone(frames);
  for (const frame of released) delete frame.object.metadata.finalizers;
  expect(texts(statesOf(released, "pods"))).not.toEqual(texts(statesOf(frames, "pods")));
  expect(texts(statesOf(frames.slice(0, -4), "jobs"))).not.toEqual(texts(statesOf(frames, "jobs")));
  const podsFirst = [...frames].sort((a, b) => (a.resource < b.resource ? 1 : a.resource > b.resource ? -1 : 0));
  expect(interleaving(podsFirst)).not.toEqual(expect.arrayContaining(apart(frames)));
});

function texts(states: readonly State[]): string[] {
  return states.map(({ state }) => JSON.stringify(state));
}

/** Runs the recording's Job, with the recording's deletions at their time, on a clock that stands still in between. */
async function replay(recorded: readonly Frame[], scenario: Scenario): Promise<Frame[]> {
  const { programs, missingImages, deletesPod, act, isSecondRecording, nodes } = scenario;
  // The recorded cluster's clock stood at about .69 s when the Jobs were made, which is why its deadline of 6 s came after 5.3.
  const clock = Clock.stepped(Date.parse("2026-11-23T10:44:33.690Z"));
  const store = new ObjectStore({ now: () => clock.now() });
  store.create("namespaces", { metadata: { name: "traces" } });
  const controllers = new Controllers({
    store,
    clock,
    ...(programs ? { programs } : {}),
    ...(nodes ? { nodes, overcommit: false } : {}),
    ...(isSecondRecording ? { delays: { sandbox: 390, containerStart: 90, nextContainerStart: 90 } } : {}),
  });
  for (const image of missingImages ?? []) controllers.images.fail(image);
  const start = clock.now();
  const frames: Frame[] = [];
  store.subscribe(({ type, resource, object }) => {
    if (resource !== "jobs" && (resource !== "pods" || object.metadata.ownerReferences === undefined)) return;
    frames.push({ ms: clock.now() - start, resource, type, object });
  });
  const advanceTo = (ms: number) => clock.advance(Math.max(0, start + ms - clock.now()));
  try {
    store.create("jobs", manifestOf(recorded), { manager: "kubectl-client-side-apply" });
    if (deletesPod === true) {
      await advanceTo(
        firstMs(recorded, (frame) => frame.resource === "pods" && "deletionTimestamp" in frame.object.metadata),
      );
      const [pod] = store.list("pods");
      store.delete("pods", "traces", pod?.metadata.name ?? "");
    }
    if (act !== undefined) {
      await advanceTo(firstMs(recorded, act.at) - 50);
      const pod = store.list("pods")[0];
      if (pod === undefined) throw new Error("there is no pod to act on");
      act.run(store, podOf(pod), controllers);
    }
    const end = recorded.find(({ resource, type }) => resource === "jobs" && type === "DELETED") ?? recorded.at(-1);
    await advanceTo(end?.ms ?? 0);
    // The TTL controller deletes one with a TTL.
    if (end?.type !== "DELETED" || (end.object.spec as JobSpec).ttlSecondsAfterFinished !== undefined) {
      await clock.advance(10_000);
      return frames;
    }
    const [job] = store.list("jobs");
    // The recording's user deleted it.
    if (job !== undefined && job.metadata.deletionTimestamp === undefined) {
      store.delete("jobs", "traces", job.metadata.name, { propagationPolicy: "Background" });
    }
    await clock.advance(10_000);
    return frames;
  } finally {
    controllers.stop();
    clock.stop();
  }
}

/** The manifest as it was applied; where the recording does not keep it, the Job without what the server added. */
function manifestOf(recorded: readonly Frame[]): NewObject {
  const [first] = recorded;
  if (first === undefined) throw new Error("the recording is empty");
  const { metadata, spec } = first.object;
  const applied = metadata.annotations?.["kubectl.kubernetes.io/last-applied-configuration"];
  if (applied !== undefined) return JSON.parse(applied) as NewObject;
  const { selector: _selector, ...own } = structuredClone(spec) as JobSpec & { selector: unknown };
  const { namespace = "", name, labels = {} } = metadata;
  const templateLabels = { ...own.template.metadata?.labels };
  for (const label of Object.keys(templateLabels))
    if (/(^|\/)(controller-uid|job-name)$/.test(label)) delete templateLabels[label];
  own.template.metadata = { labels: templateLabels };
  return { metadata: { name, namespace, labels }, spec: own };
}

function firstMs(frames: readonly Frame[], matches: (frame: Frame) => boolean): number {
  const found = frames.find(matches);
  if (found === undefined) throw new Error("the recording has no such frame");
  return found.ms;
}

/** Which Job state stands before or after which pod state, for all pairs. */
function interleaving(frames: readonly Frame[], ignoresChance?: boolean): string[] {
  return pairs(frames, 0, ignoresChance);
}

/** The same, for pairs that stand far enough apart in the recording not to be a matter of chance. */
function apart(frames: readonly Frame[], chanceMs = 50, ignoresChance?: boolean): string[] {
  return pairs(frames, chanceMs, ignoresChance);
}

function pairs(frames: readonly Frame[], gapMs: number, ignoresChance?: boolean): string[] {
  const jobs = statesOf(frames, "jobs", ignoresChance);
  const pods = statesOf(frames, "pods", ignoresChance);
  return jobs.flatMap((job, j) =>
    pods.flatMap((pod, p) => {
      if (Math.abs(job.ms - pod.ms) < gapMs) return [];
      return [job.index < pod.index ? `job ${j} < pod ${p}` : `pod ${p} < job ${j}`];
    }),
  );
}

/** The steps in which an ended pod is counted, and a deletion goes through, in the order in which a watcher sees them. */
function accounting(frames: readonly Frame[]): string[] {
  const steps: string[] = [];
  const note = (step: string, holds: boolean) => {
    if (holds && !steps.includes(step)) steps.push(step);
  };
  let tracked = false;
  for (const { resource, type, object } of frames) {
    const text = JSON.stringify(object.status ?? {});
    if (resource === "jobs") {
      note("ended pod listed", /"uncountedTerminatedPods":\{"/.test(text));
      note("interim condition", /SuccessCriteriaMet|FailureTarget/.test(text));
      note("pod counted", /"(?:failed|succeeded)":1/.test(text));
      note("final condition", /"type":"(?:Complete|Failed)"/.test(text));
      note("job gone", type === "DELETED");
    } else {
      const finalizers = object.metadata.finalizers ?? [];
      if (finalizers.length > 0) tracked = true;
      else note("pod released", tracked);
      note("pod gone", type === "DELETED");
    }
  }
  return steps;
}
