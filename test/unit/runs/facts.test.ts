import { describe, expect, it } from "vitest";
import { containerFacts, containerNames, isEndUntold, isInit, jobFacts, podFacts } from "../../../src/engine/facts.ts";
import { trimJob, trimPod } from "../../../src/engine/informer/trim.ts";
import type { Job, Pod } from "../../../src/engine/kubernetes.ts";

const at = (second: number) => `2026-11-24T10:00:${String(second).padStart(2, "0")}Z`;

function metadata(of: object = {}): object {
  return { name: "x", namespace: "n", uid: "u", resourceVersion: "1", creationTimestamp: at(0), ...of };
}

/** As the cache has it: what `trim` leaves out is not there to be read. */
function job(spec: object = {}, status: object = {}, of: object = {}): Job {
  return trimJob({ metadata: metadata(of), spec, status }) as Job;
}

function pod(status: object = {}, spec: object = {}, of: object = {}): Pod {
  const whole = { restartPolicy: "Never", containers: [{ name: "main" }], ...spec };
  return trimPod({ metadata: metadata(of), spec: whole, status }) as Pod;
}

const main = (state: object, of: object = {}) => ({
  phase: "Running",
  containerStatuses: [{ name: "main", restartCount: 0, state, ...of }],
});
const exit = (exitCode: number, of: object = {}) => ({
  terminated: { exitCode, reason: exitCode === 0 ? "Completed" : "Error", startedAt: at(2), finishedAt: at(9), ...of },
});
const said = (type: string, reason = "", status = "True") => ({ conditions: [{ type, status, reason, message: "m" }] });

describe("what a Job says", () => {
  it.each<[string, Job, object]>([
    ["nothing yet", job(), { state: "running", end: null, allowsRetries: true, podsCounted: 0, isDeleting: false }],
    ["suspended", job({ suspend: true }), { state: "suspended" }],
    ["suspended, but ended", job({ suspend: true }, said("Failed", "Stopped")), { state: "failed" }],
    ["Complete", job({}, said("Complete")), { state: "succeeded", end: { havePodsEnded: true } }],
    ["SuccessCriteriaMet", job({}, said("SuccessCriteriaMet")), { state: "succeeded", end: { havePodsEnded: false } }],
    [
      "FailureTarget",
      job({}, said("FailureTarget", "DeadlineExceeded")),
      { state: "failed", end: { reason: "DeadlineExceeded", message: "m", havePodsEnded: false } },
    ],
    ["a condition that is not true", job({}, said("Failed", "", "False")), { state: "running", end: null }],
    ["a condition of the future", job({}, said("Paused")), { state: "running", end: null }],
    ["one pod only", job({ backoffLimit: 0 }), { allowsRetries: false }],
    ["a failure policy", job({ backoffLimit: 0, podFailurePolicy: { rules: [] } }), { allowsRetries: true }],
    ["managed elsewhere", job({ managedBy: "kueue.x-k8s.io/multikueue" }), { isManagedElsewhere: true }],
    ["managed by name", job({ managedBy: "kubernetes.io/job-controller" }), { isManagedElsewhere: false }],
    ["counts", job({}, { active: 1, terminating: 1, failed: 2, succeeded: 1 }), { podsCounted: 5, podsAlive: 2 }],
    ["being deleted", job({}, {}, { deletionTimestamp: at(9) }), { state: "running", isDeleting: true }],
  ])("%s", (_, object, facts) => expect(jobFacts(object)).toMatchObject(facts));
});

describe("what a pod says", () => {
  const disrupted = (reason: string) => said("DisruptionTarget", reason);
  it.each<[string, Pod, object]>([
    ["nothing yet", pod(), { state: "pending", hasEnded: false, isScheduled: false, unscheduled: null }],
    ["a node", pod({ phase: "Pending" }, { nodeName: "a" }), { state: "pending", isScheduled: true }],
    [
      "no node for it",
      pod({ ...said("PodScheduled", "Unschedulable", "False") }),
      { isScheduled: false, unscheduled: { reason: "Unschedulable", message: "m" } },
    ],
    ["a node that does not answer", pod({ phase: "Unknown" }), { state: "running", hasEnded: false }],
    ["Running", pod({ phase: "Running" }), { state: "running", hasEnded: false }],
    ["Succeeded", pod({ phase: "Succeeded" }), { state: "succeeded", hasEnded: true }],
    ["Failed", pod({ phase: "Failed" }), { state: "failed", hasEnded: true, killedByKubelet: null }],
    [
      "a reason of node pressure, and still Running",
      pod({ phase: "Running", reason: "Evicted" }),
      { disruption: { reason: "Evicted" }, killedByKubelet: null },
    ],
    [
      "deletion",
      pod({}, {}, { deletionTimestamp: at(9), deletionGracePeriodSeconds: 9 }),
      { deletingSince: Date.parse(at(0)) },
    ],
    ["deletion without grace", pod({}, {}, { deletionTimestamp: at(9) }), { deletingSince: Date.parse(at(9)) }],
    [
      "eviction by the API",
      pod(disrupted("EvictionByEvictionAPI")),
      { disruption: { reason: "EvictionByEvictionAPI" }, killedByKubelet: null },
    ],
    [
      "node pressure",
      pod({ phase: "Failed", ...disrupted("TerminationByKubelet") }),
      { killedByKubelet: { message: "m" } },
    ],
    [
      "node pressure, before KEP-3329",
      pod({ phase: "Failed", reason: "Evicted" }),
      { disruption: { reason: "Evicted" }, killedByKubelet: { reason: "Evicted" } },
    ],
    [
      "its own deadline",
      pod({ phase: "Failed", reason: "DeadlineExceeded" }),
      { disruption: null, killedByKubelet: { reason: "DeadlineExceeded" } },
    ],
    ...[
      "UnexpectedAdmissionError",
      "OutOfcpu",
      "NodeAffinity",
      "TopologyAffinityError",
      "UnexpectedPredicateFailureType",
      "SMTAlignmentError",
      "SupplementalGroupsPolicyNotSupported",
      "VolumeAttachmentLimitExceeded",
    ].map((reason): [string, Pod, object] => [
      `no admission: ${reason}`,
      pod({ phase: "Failed", reason, message: "m" }),
      { disruption: null, killedByKubelet: null, refusedByKubelet: { reason, message: "m" } },
    ]),
    ["no admission, and still Running", pod({ phase: "Running", reason: "OutOfcpu" }), { refusedByKubelet: null }],
    ["a reason of its own", pod({ phase: "Failed", reason: "ProviderFailed" }), { refusedByKubelet: null }],
    ...["ProviderFailed", "OffloadingBackOff"].map((reason): [string, Pod, object] => [
      `a virtual node that cannot run it yet: ${reason}`,
      pod({ phase: "Pending", reason, message: "m" }, { nodeName: "a" }),
      { unprovided: { reason, message: "m" } },
    ]),
    ["a virtual node that waits", pod({ reason: "Queued" }, { nodeName: "a" }), { unprovided: null }],
    ["a virtual node that could not", pod({ phase: "Running", reason: "ProviderFailed" }), { unprovided: null }],
  ])("%s", (_, object, facts) => expect(podFacts(object)).toMatchObject(facts));
});

describe("what a pod says of a container", () => {
  const ended = { state: "ended", isRestarted: false, hasStarted: true };
  const again = { state: "ended", isRestarted: true };
  const rule = (action: string, operator: string, ...values: number[]) => ({ action, exitCodes: { operator, values } });
  const ruled = (...restartPolicyRules: object[]) => ({
    containers: [{ name: "main", restartPolicy: "Never", restartPolicyRules }],
  });
  const init = (restartPolicy?: string) => ({
    restartPolicy: "OnFailure",
    initContainers: [{ name: "main", restartPolicy }],
  });
  const lost = { exitCode: 137, reason: "ContainerStatusUnknown" };
  const startError = { exitCode: 128, reason: "StartError", message: "no such file", finishedAt: at(9) };

  it.each<[string, Pod, object]>([
    ["no such container", pod({ phase: "Running" }, { containers: [] }), { state: "unknown", hasStarted: null }],
    ["not told yet", pod({ phase: "Pending" }), { state: "unknown" }],
    ["told without a state", pod({ ...main({}), phase: "Pending" }), { state: "waiting", reason: "", message: "" }],
    [
      "waiting",
      pod(main({ waiting: { reason: "ContainerCreating" } })),
      { state: "waiting", problem: null, hasStarted: false },
    ],
    [
      "no image",
      pod(main({ waiting: { reason: "ErrImagePull", message: "m" } })),
      { state: "waiting", problem: "image_pull", message: "m" },
    ],
    [
      "no image yet, since its node pulls too many at once",
      pod(main({ waiting: { reason: "ImagePullBackOff", message: "ErrImagePull: pull QPS exceeded" } })),
      { state: "waiting", problem: null },
    ],
    ["running", pod(main({ running: { startedAt: at(2) } })), { state: "running", startedAt: at(2) }],
    [
      "ended",
      pod(main(exit(3, { signal: 9 }))),
      { ...ended, exitCode: 3, signal: 9, startedAt: at(2), finishedAt: at(9) },
    ],

    // Nodes that are no kubelets tell only the phase.
    [
      "only Running",
      pod({ phase: "Running" }),
      { state: "running", startedAt: null, hasStarted: true, restartCount: 0 },
    ],
    ["Running, and a status without a state", pod(main({})), { state: "running" }],
    ["only Succeeded", pod({ phase: "Succeeded" }), { ...ended, exitCode: 0 }],
    ["Succeeded, and still waiting", pod({ ...main({ waiting: {} }), phase: "Succeeded" }), { ...ended, exitCode: 0 }],
    ["Succeeded, and still running", pod({ ...main({ running: { startedAt: at(2) } }), phase: "Succeeded" }), ended],
    [
      "Running, and it waits for no reason",
      pod(main({ waiting: {} }, { lastState: { waiting: {} } })),
      { state: "running", startedAt: null },
    ],
    [
      "Succeeded, and ended without a time",
      pod({ ...main({ terminated: { exitCode: 0 } }), phase: "Succeeded" }),
      ended,
    ],
    ["only Failed", pod({ phase: "Failed" }), { state: "unknown", hasStarted: null }],
    [
      "Failed, and it waits for no reason",
      pod({ ...main({ waiting: {} }), phase: "Failed" }),
      { state: "unknown", hasStarted: null },
    ],
    [
      "Failed, and it waits for no reason after a first start",
      pod({ ...main({ waiting: {} }, { restartCount: 1, lastState: exit(3) }), phase: "Failed" }),
      { state: "waiting", hasStarted: true, last: expect.objectContaining({ exitCode: 3 }) },
    ],
    [
      "an init container that waits for no reason in a pod that failed",
      pod({ ...main({ waiting: {} }), phase: "Failed" }, { ...init(), containers: [] }),
      { state: "waiting", hasStarted: false },
    ],
    [
      "Failed, and it waits for a reason",
      pod({ ...main({ waiting: { reason: "ContainerCreating" } }), phase: "Failed" }),
      { state: "waiting", hasStarted: false },
    ],

    // The runtime could not start it.
    [
      "StartError of containerd",
      pod(main({ terminated: { ...startError, startedAt: "1970-01-01T00:00:00Z" } })),
      { state: "never started", message: "no such file", hasStarted: false, isRestarted: false },
    ],
    ["StartError without a time", pod(main({ terminated: startError })), { state: "never started" }],
    [
      "ContainerCannotRun of cri-dockerd",
      pod(main(exit(127, { reason: "ContainerCannotRun", startedAt: at(9) }))),
      { state: "never started" },
    ],
    [
      "CRI-O's words",
      pod(main(exit(-1, { message: "failed to start container 1b2c: no such file", startedAt: at(9) }))),
      { state: "never started", message: "failed to start container 1b2c: no such file" },
    ],
    ["an exit code that CRI-O did not learn", pod(main(exit(-1))), { ...ended, exitCode: -1 }],
    [
      "an exit code that CRI-O did not learn, within a second",
      pod(main(exit(-1, { startedAt: at(9) }))),
      { ...ended, startedAt: at(9), exitCode: -1 },
    ],
    [
      "a container's own words, as CRI-O's, within a second",
      pod(main(exit(1, { message: "failed to start container 1b2c", startedAt: at(9) }))),
      { ...ended, startedAt: at(9), exitCode: 1, message: "failed to start container 1b2c" },
    ],
    ...["0001-01-01T00:00:00Z", "1754-08-30T22:43:41Z"].map((startedAt): [string, Pod, object] => [
      `StartError with Go's time ${startedAt}`,
      pod(main({ terminated: { ...startError, startedAt } })),
      { state: "never started" },
    ]),
    ["exit code 128 of a program that ran", pod(main(exit(128))), { ...ended, exitCode: 128 }],
    ["ContainerCannotRun of one that ran", pod(main(exit(127, { reason: "ContainerCannotRun" }))), ended],
    [
      "StartError, to be tried again",
      pod(main({ terminated: startError }), { restartPolicy: "OnFailure" }),
      { state: "never started", isRestarted: true },
    ],
    [
      "back-off after a StartError",
      pod(
        main({ waiting: { reason: "CrashLoopBackOff" } }, { restartCount: 3, lastState: { terminated: startError } }),
      ),
      { state: "waiting", problem: null, last: null, hasStarted: false },
    ],

    // The kubelet starts it again.
    ["OnFailure, 3", pod(main(exit(3)), { restartPolicy: "OnFailure" }), again],
    ["OnFailure, 0", pod(main(exit(0)), { restartPolicy: "OnFailure" }), ended],
    ["its own OnFailure, 3", pod(main(exit(3)), { containers: [{ name: "main", restartPolicy: "OnFailure" }] }), again],
    [
      "its own Never, its pod OnFailure",
      pod(main(exit(3)), { restartPolicy: "OnFailure", containers: [{ name: "main", restartPolicy: "Never" }] }),
      ended,
    ],
    ["its own Always, 0", pod(main(exit(0)), { containers: [{ name: "main", restartPolicy: "Always" }] }), again],
    ["a rule for 42, 42", pod(main(exit(42)), ruled(rule("Restart", "In", 41, 42))), again],
    ["a rule for 42, 3", pod(main(exit(3)), ruled(rule("Restart", "In", 42))), ended],
    ["a rule for all but 0 and 1, 3", pod(main(exit(3)), ruled(rule("Restart", "NotIn", 0, 1))), again],
    ["a rule for all but 0 and 1, 1", pod(main(exit(1)), ruled(rule("Restart", "NotIn", 0, 1))), ended],
    ["a rule for 0, 0", pod(main(exit(0)), ruled(rule("Restart", "In", 0))), again],
    ["a rule with an action of the future", pod(main(exit(42)), ruled(rule("Terminate", "In", 42))), ended],
    [
      "a rule, and the pod has failed",
      pod({ ...main(exit(42)), phase: "Failed" }, ruled(rule("Restart", "In", 42))),
      ended,
    ],
    [
      "a rule, and the pod is being deleted",
      pod(main(exit(42)), ruled(rule("Restart", "In", 42)), { deletionTimestamp: at(9) }),
      ended,
    ],
    ["all are restarted, says the pod", pod({ ...main(exit(0)), ...said("AllContainersRestarting") }), again],
    [
      "back-off",
      pod(main({ waiting: { reason: "CrashLoopBackOff" } }, { restartCount: 1, lastState: exit(1) })),
      { state: "waiting", problem: null, last: expect.objectContaining({ exitCode: 1 }), hasStarted: true },
    ],
    ["an init container, 0", pod(main(exit(0)), { ...init(), restartPolicy: "Always" }), ended],
    ["an init container, 3", pod(main(exit(3)), init()), again],
    [
      "an init container in back-off",
      pod(main({ waiting: { reason: "CrashLoopBackOff" } }), init()),
      { state: "waiting", problem: null },
    ],
    [
      "a sidecar in back-off",
      pod(main({ waiting: { reason: "CrashLoopBackOff" } }), init("Always")),
      { state: "waiting", problem: "init_failed" },
    ],

    [
      "waiting, restarted once, and nothing is said of the time before",
      pod(main({ waiting: { reason: "CrashLoopBackOff" } }, { restartCount: 1 })),
      { state: "waiting", hasStarted: true, last: null },
    ],
    ["no restart policy in pod or container", pod(main(exit(0)), { restartPolicy: undefined }), again],

    // The kubelet lost it.
    ["lost", pod(main({ terminated: lost })), { ...ended, hasStarted: null, startedAt: null }],
    ["lost, with the time of its start", pod(main({ terminated: { ...lost, startedAt: at(2) } })), ended],
    ["ended without a time", pod(main({ terminated: { exitCode: 1, reason: "Error" } })), ended],
    [
      "lost, but it had run",
      pod(main({ terminated: lost }, { lastState: { terminated: lost } })),
      { ...ended, hasStarted: true },
    ],
  ])("%s", (_, object, facts) => expect(containerFacts(object, "main")).toMatchObject(facts));

  it("the exit of another that restarts all of them", () => {
    const rules = [rule("RestartAllContainers", "In", 88)];
    const spec = { containers: [{ name: "main" }, { name: "watcher", restartPolicyRules: rules }] };
    const watcher = (exitCode: number) =>
      pod(
        {
          phase: "Running",
          containerStatuses: [
            { name: "main", restartCount: 0, state: exit(137) },
            { name: "watcher", restartCount: 0, state: exit(exitCode) },
          ],
        },
        spec,
      );
    expect(containerFacts(watcher(88), "main")).toMatchObject(again);
    expect(containerFacts(watcher(1), "main")).toMatchObject(ended);
  });
});

it.each<[string, Pod, boolean]>([
  ["it failed, and nothing else", pod({ phase: "Failed" }), true],
  ["it failed for a reason", pod({ phase: "Failed", reason: "OutOfcpu" }), false],
  ["it failed, and how its container ended", pod({ ...main(exit(3)), phase: "Failed" }), false],
  ["it is to be started", pod({ phase: "Pending" }), false],
])("whether a pod's end is untold: %s", (_, object, isUntold) => {
  expect(isEndUntold(object, "main")).toBe(isUntold);
});

describe("the containers of a pod", () => {
  const two = {
    initContainers: [{ name: "mesh" }, { name: "prompt" }],
    containers: [{ name: "main" }, { name: "side" }],
  };
  it.each<[string, Pod, string[]]>([
    ["that has told of none", pod({}, two), ["main", "side"]],
    ["that has told of some", pod(main({}), two), ["main", "side"]],
    [
      "that has told of all",
      pod({ initContainerStatuses: [{ name: "mesh", state: {} }], ...main({}) }, two),
      ["mesh", "main", "side"],
    ],
  ])("%s", (_, object, names) => expect(containerNames(object)).toEqual(names));

  it.each([
    ["mesh", true],
    ["prompt", true],
    ["main", false],
  ])("%s is an init container: %s", (name, isOne) => expect(isInit(pod({}, two), name)).toBe(isOne));
});

it.each<[string, object, boolean]>([
  ["Failed, and nothing else", { phase: "Failed" }, true],
  ["Failed with a reason", { phase: "Failed", reason: "NodeAffinity" }, false],
  ["Failed with an end of its container", { ...main(exit(1)), phase: "Failed" }, false],
  ["nothing yet", { phase: "Pending" }, false],
])("an end of which a pod tells nothing: %s", (_, status, isOne) =>
  expect(isEndUntold(pod(status), "main")).toBe(isOne),
);
