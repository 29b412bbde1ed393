import { describe, expect, it } from "vitest";
import { Clock } from "../../../src/embedded/clock.ts";
import { startControllers } from "../../../src/embedded/controllers/controllers.ts";
import type { ScriptedProgram } from "../../../src/embedded/kubelet/programs.ts";
import type { NewObject } from "../../../src/embedded/objects/objects.ts";
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

interface Scenario {
  programs?: Record<string, ScriptedProgram>;
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
};

describe.each(Object.entries(scenarios))("the recorded scenario %s", (name, scenario) => {
  it("is reproduced: the same Job states, the same pod states, in the same order", async () => {
    const recorded = readTrace(name);
    const frames = await replay(recorded, scenario);
    expect(texts(statesOf(frames, "jobs"))).toEqual(texts(statesOf(recorded, "jobs")));
    expect(texts(statesOf(frames, "pods"))).toEqual(texts(statesOf(recorded, "pods")));
    expect(interleaving(frames)).toEqual(expect.arrayContaining(apart(recorded, scenario.chanceMs)));
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
async function replay(recorded: readonly Frame[], { programs, missingImages, deletesPod }: Scenario): Promise<Frame[]> {
  // The recorded cluster's clock stood at about .69 s when the Jobs were made, which is why its deadline of 6 s came after 5.3.
  const clock = Clock.stepped(Date.parse("2026-11-23T10:44:33.690Z"));
  const store = new ObjectStore({ now: () => clock.now() });
  store.create("namespaces", { metadata: { name: "traces" } });
  const controllers = startControllers({ store, clock, ...(programs ? { programs } : {}) });
  for (const image of missingImages ?? []) controllers.images.fail(image);
  const start = clock.now();
  const frames: Frame[] = [];
  store.subscribe(({ type, resource, object }) => {
    if (resource === "jobs" || resource === "pods") frames.push({ ms: clock.now() - start, resource, type, object });
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
    const jobGoneAt = firstMs(recorded, ({ resource, type }) => resource === "jobs" && type === "DELETED");
    await advanceTo(jobGoneAt);
    const [job] = store.list("jobs");
    // With a TTL nobody deletes it: it must be gone, or going, by itself.
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

/** The manifest as it was applied. */
function manifestOf(recorded: readonly Frame[]): NewObject {
  const annotations = recorded[0]?.object.metadata.annotations ?? {};
  const applied = annotations["kubectl.kubernetes.io/last-applied-configuration"] ?? "";
  return JSON.parse(applied) as NewObject;
}

function firstMs(frames: readonly Frame[], matches: (frame: Frame) => boolean): number {
  const found = frames.find(matches);
  if (found === undefined) throw new Error("the recording has no such frame");
  return found.ms;
}

/** Which Job state stands before or after which pod state, for all pairs. */
function interleaving(frames: readonly Frame[]): string[] {
  return pairs(frames, 0);
}

/** The same, for pairs that stand far enough apart in the recording not to be a matter of chance. */
function apart(frames: readonly Frame[], chanceMs = 50): string[] {
  return pairs(frames, chanceMs);
}

function pairs(frames: readonly Frame[], gapMs: number): string[] {
  const jobs = statesOf(frames, "jobs");
  const pods = statesOf(frames, "pods");
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
