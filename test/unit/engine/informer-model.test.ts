import fc from "fast-check";
import { expect, it } from "vitest";
import { NAMESPACE, podObject, startInformer, startKubernetes } from "./harness.ts";

/**
 * Whatever happens to objects and connections in whatever order, the cache ends equal to the server's, every version is told
 * at most once and never after a newer one, and every deletion exactly once.
 */
it("agrees with the server after any interleaving of changes, cuts, stalls, lost versions and restarts", async () => {
  const k8s = await startKubernetes({ streamingList: true, seed: 7 });
  const informer = startInformer(k8s, { backoff: { baseMs: 1, maxMs: 5 }, progressTimeoutMs: 100, pageSize: 2 });
  await informer.whenSynced();
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
          "breathe" as const,
        ),
        name,
      }),
    },
  );
  let serial = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 40 }), async (operations) => {
      for (const each of operations) {
        const known = k8s.objects.get("pods", NAMESPACE, each.name);
        switch (each.do) {
          case "create":
            if (known === undefined) k8s.objects.create("pods", podObject(each.name));
            break;
          case "change":
            if (known !== undefined)
              k8s.objects.update("pods", NAMESPACE, each.name, (pod) => {
                pod.metadata.annotations = { serial: String(serial++) };
              });
            break;
          case "delete":
            if (known !== undefined) k8s.objects.delete("pods", NAMESPACE, each.name);
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
          case "breathe":
            await new Promise((resolve) => setImmediate(resolve));
            break;
        }
      }
      // The last word: when the cache has it, it has all before it.
      const marker = `marker-${serial++}`;
      k8s.objects.create("pods", podObject(marker));
      await new Promise<void>((resolve) => {
        reached = () => {
          if (informer.get(NAMESPACE, marker) !== undefined && agrees()) resolve();
        };
        reached();
      });
      reached = null;
      k8s.objects.delete("pods", NAMESPACE, marker);
      expect(wrong).toEqual([]);
    }),
    { numRuns: 60 },
  );
  expect(informer.stats().lists).toBeGreaterThan(5);

  function agrees(): boolean {
    const truth = k8s.objects
      .list("pods", NAMESPACE)
      .map((pod) => `${pod.metadata.uid}@${pod.metadata.resourceVersion}`);
    const cached = informer.list().map((pod) => `${pod.metadata.uid}@${pod.metadata.resourceVersion}`);
    return truth.sort().join() === cached.sort().join();
  }
});
