import { expect, it } from "vitest";
import type { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import type { Informer } from "../../../src/engine/informer/informer.ts";
import type { Pod } from "../../../src/engine/kubernetes.ts";
import { faultsComeAtRandom } from "../injected-faults.ts";
import fc from "../property.ts";
import { NAMESPACE, podObject, startInformer, startKubernetes } from "./harness.ts";

/**
 * Whatever happens to objects and connections in whatever order, the cache ends equal to the server's, every version is told
 * at most once and never after a newer one, and every deletion exactly once.
 */
it("agrees with the server after any interleaving of changes, cuts, stalls, lost versions and restarts", async () => {
  const k8s = await startKubernetes({ streamingList: true, seed: 7 });
  faultsComeAtRandom();
  const informer = startInformer(k8s, {
    backoff: { baseMs: 1, maxMs: 5, minIntervalMs: 1 },
    progressTimeoutMs: 100,
    pageSize: 2,
  });
  await informer.whenSynced();
  const { wrong, cached, truth, until } = judge(informer, k8s);

  const name = fc.constantFrom("a", "b", "c", "d", "e");
  const operation = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant("create" as const), name }) },
    { weight: 6, arbitrary: fc.record({ do: fc.constant("change" as const), name }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("delete" as const), name }) },
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constantFrom(
          "cut" as const,
          "reset" as const,
          "expire" as const,
          "stall" as const,
          "connections" as const,
          "garbage" as const,
          "refuse" as const,
          "page" as const,
          "late" as const,
          "breathe" as const,
        ),
        name,
      }),
    },
  );
  let serial = 0;
  const histories = () =>
    fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 40 }), async (operations) => {
        for (const each of operations) {
          switch (each.do) {
            case "create":
            case "change":
            case "delete":
              alter(k8s, each.do, each.name, serial++);
              break;
            case "cut":
              k8s.faults.cutWatches();
              break;
            case "reset":
              k8s.faults.cutWatches({ how: "reset" });
              break;
            case "expire":
              k8s.faults.expireVersions();
              break;
            case "stall":
              k8s.faults.stallWatches(20);
              break;
            case "connections":
              k8s.faults.resetConnections();
              break;
            case "garbage":
              k8s.faults.nextWatch({ kind: "garbage" });
              break;
            case "refuse":
              k8s.faults.errorRate({ status: 503, match: { verb: ["watch", "list"] }, count: 2 });
              break;
            case "page":
              k8s.settings.streamingList = !k8s.settings.streamingList;
              break;
            case "late":
              k8s.faults.delayListEnd(10, { count: 1 });
              break;
            case "breathe":
              await new Promise((resolve) => setImmediate(resolve));
              break;
          }
        }
        // The last word: when the cache has it, it has all before it.
        const marker = `marker-${serial++}`;
        k8s.objects.create("pods", podObject(marker));
        await until(() => informer.get(NAMESPACE, marker) !== undefined && cached().join() === truth().join());
        k8s.objects.delete("pods", NAMESPACE, marker);
        expect(wrong).toEqual([]);
      }),
      { numRuns: 60 },
    );
  // How many versions expire while nothing is watched is a matter of chance.
  for (let round = 0; round < 5 && informer.stats().lists <= 5; round += 1) await histories();
  expect(informer.stats().lists).toBeGreaterThan(5);
});

/**
 * Between the objects of a streaming list and the bookmark that ends it, changes come as in any watch: a server whose cache is
 * behind sends that bookmark late, an older one always.
 */
it("agrees with the server whatever changes before a list is complete", async () => {
  const k8s = await startKubernetes({ streamingList: true });
  const name = fc.constantFrom("a", "b", "c");
  const operation = fc.record({ do: fc.constantFrom("create", "change", "delete", "breathe"), name });
  let serial = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(name),
      fc.array(operation, { minLength: 1, maxLength: 12 }),
      async (names, operations) => {
        for (const each of ["a", "b", "c"]) {
          if (k8s.objects.get("pods", NAMESPACE, each) !== undefined) k8s.objects.delete("pods", NAMESPACE, each);
        }
        for (const each of names) k8s.objects.create("pods", podObject(each));
        const begun = Promise.withResolvers<void>();
        const where = () => {
          begun.resolve();
          return true;
        };
        const listEnd = k8s.faults.delayListEnd(undefined, { match: { where } });
        const informer = startInformer(k8s);
        try {
          const { wrong, cached, truth, until } = judge(informer, k8s);
          await begun.promise;
          for (const each of operations) {
            if (each.do === "breathe") await new Promise((resolve) => setImmediate(resolve));
            else alter(k8s, each.do, each.name, serial++);
          }
          expect(informer.synced).toBe(false);
          listEnd.release();
          await informer.whenSynced();
          const marker = `marker-${serial++}`;
          k8s.objects.create("pods", podObject(marker));
          await until(() => informer.get(NAMESPACE, marker) !== undefined);
          expect(cached()).toEqual(truth());
          k8s.objects.delete("pods", NAMESPACE, marker);
          expect(wrong).toEqual([]);
        } finally {
          listEnd.release();
          await informer.stop();
        }
      },
    ),
    { numRuns: 40 },
  );
});

function alter(k8s: EmbeddedKubernetes, what: string, name: string, serial: number): void {
  const isThere = k8s.objects.get("pods", NAMESPACE, name) !== undefined;
  if (what === "create" && !isThere) k8s.objects.create("pods", podObject(name));
  if (what === "delete" && isThere) k8s.objects.delete("pods", NAMESPACE, name);
  if (what !== "change" || !isThere) return;
  k8s.objects.update("pods", NAMESPACE, name, (pod) => {
    pod.metadata.annotations = { serial: String(serial) };
  });
}

/** Notes whatever an informer tells wrongly, and says what it and the server hold. */
function judge(informer: Informer<Pod>, k8s: EmbeddedKubernetes) {
  const newest = new Map<string, bigint>();
  const live = new Set<string>();
  const wrong: string[] = [];
  let reached: (() => void) | null = null;
  informer.subscribe(({ type, object }) => {
    const { uid, name, resourceVersion } = object.metadata;
    const version = BigInt(resourceVersion);
    if (type === "added" && live.has(uid)) wrong.push(`${name} added twice`);
    if (type !== "added" && !live.has(uid)) wrong.push(`${name} ${type} though not live`);
    // A deletion that was missed comes with the last version known.
    if (type !== "deleted" && version <= (newest.get(uid) ?? -1n))
      wrong.push(`${name} told again or older: ${version}`);
    newest.set(uid, version);
    if (type === "deleted") live.delete(uid);
    else live.add(uid);
    reached?.();
  });
  const versions = (pods: readonly { metadata: { uid?: string; resourceVersion?: string } }[]) =>
    pods.map(({ metadata }) => `${metadata.uid}@${metadata.resourceVersion}`).sort();
  const cached = () => versions(informer.list());
  const truth = () => versions(k8s.objects.list("pods", NAMESPACE));
  /** Resolves when `fits` holds; asked after every change. */
  const until = async (fits: () => boolean) => {
    await new Promise<void>((resolve) => {
      reached = () => {
        if (fits()) resolve();
      };
      reached();
    });
    reached = null;
  };
  return { wrong, cached, truth, until };
}
