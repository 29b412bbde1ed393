/** Writes whose answer is lost: it is not known whether the server has carried them out. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { Cluster, corePath, createOnce, deleteUnchanged, LAUNCH_ID_ANNOTATION } from "../../../src/engine/index.ts";
import { kubeConfigOf, NAMESPACE, startKubernetes } from "./harness.ts";

let k8s: EmbeddedKubernetes;
let cluster: Cluster;
beforeEach(async () => {
  k8s = await startKubernetes();
  cluster = new Cluster({ kubeConfig: kubeConfigOf(k8s), retry: { baseMs: 1 } });
});
afterEach(() => cluster.close());

const collection = corePath(NAMESPACE, "configmaps");
const create = (name: string, marks: Record<string, string> = {}) =>
  createOnce(cluster, collection, { apiVersion: "v1", kind: "ConfigMap", metadata: { name, annotations: marks } });

test.each([
  ["by version, as it was looked at", true],
  ["by uid alone", false],
])("a deletion %s, of what then stands until its finalizers are done: it is deleted", async (_, byVersion) => {
  const finalizers = ["example.com/held"];
  const { metadata } = k8s.objects.create("configmaps", {
    metadata: { name: `held-${byVersion}`, namespace: NAMESPACE, finalizers },
  });
  const { name, uid, resourceVersion } = metadata;
  const fault = k8s.faults.loseAnswers({ match: { verb: "delete", resource: "configmaps" }, count: 1 });
  const target = byVersion ? { uid, resourceVersion } : { uid };
  expect(await deleteUnchanged(cluster, `${collection}/${name}`, target)).toBe("deleted");
  expect(fault.hits).toBe(1);
});

test("a deletion of what was changed since it was looked at is none", async () => {
  const { metadata } = k8s.objects.create("configmaps", { metadata: { name: "changed", namespace: NAMESPACE } });
  k8s.objects.update("configmaps", NAMESPACE, "changed", (draft) => {
    draft.metadata.labels = { changed: "yes" };
  });
  expect(await deleteUnchanged(cluster, `${collection}/changed`, metadata)).toBe("changed");
  expect(k8s.objects.get("configmaps", NAMESPACE, "changed")?.metadata).not.toHaveProperty("deletionTimestamp");
});

test("a create that could not be asked after is known again by its mark, and another's object is not taken for it", async () => {
  const marks = { [LAUNCH_ID_ANNOTATION]: "mine" };
  const lost = k8s.faults.loseAnswers({ match: { verb: "create", resource: "configmaps" }, count: 1 });
  const unasked = k8s.faults.errorRate({ status: 403, match: { verb: "get", resource: "configmaps" }, count: 1 });
  await expect(create("marked", marks)).rejects.toMatchObject({ reason: "ConnectionReset" });
  expect([lost.hits, unasked.hits]).toEqual([1, 1]);
  expect(await create("marked", marks)).toMatchObject({ metadata: { name: "marked" } });
  await expect(create("marked", { [LAUNCH_ID_ANNOTATION]: "another" })).rejects.toMatchObject({
    reason: "AlreadyExists",
  });
});
