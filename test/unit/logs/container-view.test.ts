import { expect, test } from "vitest";
import type { ContainerState, Pod } from "../../../src/engine/kubernetes.ts";
import { containerView } from "../../../src/engine/logs/index.ts";

function pod(
  state: ContainerState,
  of: { restartPolicy?: string; phase?: Pod["status"]["phase"]; deleted?: boolean } = {},
): Pod {
  return {
    metadata: {
      name: "p",
      namespace: "ns",
      uid: "u",
      resourceVersion: "1",
      creationTimestamp: "2026-11-24T00:00:00Z",
      ...(of.deleted ? { deletionTimestamp: "2026-11-24T00:01:00Z" } : {}),
    },
    spec: {
      restartPolicy: of.restartPolicy ?? "Never",
      containers: [{ name: "claude" }],
      initContainers: [{ name: "prep" }],
    },
    status: {
      phase: of.phase ?? "Running",
      containerStatuses: [{ name: "claude", restartCount: 2, state }],
      initContainerStatuses: [{ name: "prep", restartCount: 0, state: { terminated: { exitCode: 0 } } }],
    },
  };
}

const exited = (exitCode: number) => ({ terminated: { exitCode, startedAt: "a", finishedAt: "b" } });

test("what a pod says of its container", () => {
  expect(containerView(undefined, "claude").phase).toBe("gone");
  expect(containerView(pod({ waiting: { reason: "ContainerCreating" } }), "claude")).toMatchObject({
    phase: "waiting",
    restartCount: 2,
  });
  expect(containerView(pod({ running: { startedAt: "a" } }), "claude")).toMatchObject({
    phase: "running",
    startedAt: "a",
  });
  expect(containerView(pod(exited(1)), "claude")).toMatchObject({ phase: "ended", startedAt: "a", finishedAt: "b" });
  // Of a virtual node, which tells only of the pod's end.
  for (const phase of ["Succeeded", "Failed"] as const)
    expect(containerView(pod({ running: { startedAt: "2026-11-24T00:00:00Z" } }, { phase }), "claude").phase).toBe(
      "ended",
    );
  expect(containerView(pod({}, { phase: "Failed" }), "claude")).toMatchObject({ phase: "ended", startedAt: null });
  expect(containerView(pod({ running: {} }), "prep").phase).toBe("ended");
  expect(containerView(pod({ running: {} }), "unknown").phase).toBe("waiting");
});

test("an exit that the kubelet answers with a restart is no end", () => {
  expect(containerView(pod(exited(1), { restartPolicy: "OnFailure" }), "claude").phase).toBe("waiting");
  expect(containerView(pod(exited(0), { restartPolicy: "OnFailure" }), "claude").phase).toBe("ended");
  expect(containerView(pod(exited(0), { restartPolicy: "Always" }), "claude").phase).toBe("waiting");
  expect(containerView(pod(exited(1), { restartPolicy: "OnFailure", phase: "Failed" }), "claude").phase).toBe("ended");
  expect(containerView(pod(exited(1), { restartPolicy: "Always", deleted: true }), "claude").phase).toBe("ended");
  expect(containerView(pod({ running: {} }, { restartPolicy: "Always" }), "prep").phase).toBe("ended");
});
