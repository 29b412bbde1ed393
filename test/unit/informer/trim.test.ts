import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { trimJob, trimPod } from "../../../src/engine/informer/trim.ts";

const frames = readFileSync(
  new URL("../../fixtures/traces/kubernetes-1.36/native-sidecar.jsonl", import.meta.url),
  "utf8",
)
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));

describe("trimming", () => {
  it("keeps what classification and guards read, and drops the bulk", () => {
    for (const { resource, object } of frames) {
      const kept = resource === "jobs" ? trimJob(object) : trimPod(object);
      expect(kept?.metadata).toMatchObject({
        name: object.metadata.name,
        uid: object.metadata.uid,
        resourceVersion: object.metadata.resourceVersion,
      });
      expect(kept?.metadata.labels?.["paperclip.io/run-id"]).toBe(object.metadata.labels["paperclip.io/run-id"]);
      expect(kept?.metadata.deletionTimestamp).toBe(object.metadata.deletionTimestamp);
      expect(JSON.stringify(kept).length).toBeLessThan(JSON.stringify(object).length / 2.2);
      expect(JSON.stringify(kept)).not.toContain("managedFields");
    }
    const last = trimPod(frames.findLast((frame) => frame.resource === "pods").object);
    expect(last?.status.initContainerStatuses?.find((each) => each.name === "proxy")?.state?.terminated?.exitCode).toBe(
      137,
    );
    expect(last?.spec.initContainers?.find((each) => each.name === "proxy")?.restartPolicy).toBe("Always");
  });

  it("shares what is the same from pod to pod, and only that", () => {
    const raw = frames.findLast((frame) => frame.resource === "pods").object;
    const change = (edit: (pod: typeof raw) => void) => {
      const copy = structuredClone(raw);
      edit(copy);
      return trimPod(copy);
    };
    const pod = trimPod(raw);
    const same = change(({ metadata }) => {
      metadata.uid = "other";
    });
    expect(same?.spec).toBe(pod?.spec);
    expect(same?.status.conditions).toBe(pod?.status.conditions);
    const changes = [
      (each: typeof raw) => Object.assign(each.spec, { nodeName: "elsewhere" }),
      (each: typeof raw) => Object.assign(each.spec, { terminationGracePeriodSeconds: 77 }),
      (each: typeof raw) => Object.assign(each.spec.initContainers[0], { name: "other" }),
      (each: typeof raw) => Object.assign(each.spec.containers[0], { restartPolicy: "Always" }),
    ];
    for (const edit of changes) expect(change(edit)?.spec).not.toEqual(pod?.spec);
    for (const field of ["type", "reason", "message"]) {
      const edited = change((each) => Object.assign(each.status.conditions[0], { [field]: "Changed" }));
      expect(edited?.status.conditions?.[0]).toEqual({ ...pod?.status.conditions?.[0], [field]: "Changed" });
    }
  });

  it.each([null, 7, "text", [], {}, { metadata: null }, { metadata: { name: 1, uid: "u", resourceVersion: "1" } }])(
    "answers null to %j",
    (raw) => {
      expect(trimPod(raw)).toBeNull();
      expect(trimJob(raw)).toBeNull();
    },
  );

  it("survives an object whose every other field has the wrong type", () => {
    const metadata = {
      name: "n",
      uid: "u",
      resourceVersion: "1",
      labels: [],
      annotations: "x",
      ownerReferences: {},
      deletionTimestamp: 5,
    };
    const pod = trimPod({
      metadata,
      spec: { containers: "x", initContainers: [null, 3] },
      status: { conditions: [null, {}], containerStatuses: [{ name: "c", state: { terminated: {} } }] },
    });
    expect(pod?.status.containerStatuses).toEqual([
      { name: "c", restartCount: 0, state: { terminated: { exitCode: -1 } } },
    ]);
    expect(trimJob({ metadata, spec: null, status: { conditions: {} } })).toMatchObject({ spec: {}, status: {} });
  });
});
