import { describe, expect, it } from "vitest";
import { compareVersions, Store } from "../../../src/engine/informer/store.ts";
import type { KubeObject } from "../../../src/engine/kubernetes.ts";
import fc from "../property.ts";

interface Thing extends KubeObject {
  group: string | null;
}

const thing = (name: string, uid: string, version: number, group: string | null = null): Thing => ({
  metadata: { name, namespace: "n", uid, resourceVersion: String(version), creationTimestamp: "" },
  group,
});
const types = (changes: { type: string; object: KubeObject }[]) =>
  changes.map(({ type, object }) => `${type} ${object.metadata.uid}@${object.metadata.resourceVersion}`);

describe("a store", () => {
  it("takes a newer version, and neither the same nor an older one", () => {
    const store = new Store<Thing>();
    expect(types(store.apply(thing("a", "1", 5)))).toEqual(["added 1@5"]);
    expect(store.apply(thing("a", "1", 5))).toEqual([]);
    expect(store.apply(thing("a", "1", 4))).toEqual([]);
    expect(types(store.apply(thing("a", "1", 10)))).toEqual(["updated 1@10"]);
    expect(types(store.apply(thing("a", "1", 7), true))).toEqual(["updated 1@7"]);
  });

  it("tells another uid under the same name as a deletion and an addition", () => {
    const store = new Store<Thing>();
    store.apply(thing("a", "1", 5));
    expect(types(store.apply(thing("a", "2", 9)))).toEqual(["deleted 1@5", "added 2@9"]);
    expect(store.delete(thing("a", "1", 8))).toEqual([]);
    expect(store.get("n", "a")?.metadata.uid).toBe("2");
  });

  it("names the indices there are", () => {
    expect(() => new Store<Thing>({ group: (each) => each.group }).byIndex("groop", "x")).toThrow(
      "no index groop; there are: group",
    );
  });

  it("agrees with a model, indices included, whatever comes", () => {
    const operation = fc.record({
      kind: fc.constantFrom("apply", "delete"),
      name: fc.constantFrom("a", "b", "c"),
      uid: fc.constantFrom("1", "2"),
      version: fc.integer({ min: 1, max: 20 }),
      group: fc.constantFrom("x", "y", null),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 40 }), (operations) => {
        const store = new Store<Thing>({ group: (each) => each.group });
        const model = new Map<string, Thing>();
        for (const { kind, name, uid, version, group } of operations) {
          const object = thing(name, `${name}${uid}`, version, group);
          const known = model.get(name);
          if (kind === "delete") {
            store.delete(object);
            if (known?.metadata.uid === object.metadata.uid) model.delete(name);
          } else {
            store.apply(object);
            const isNews =
              known === undefined ||
              known.metadata.uid !== object.metadata.uid ||
              Number(known.metadata.resourceVersion) < version;
            if (isNews) model.set(name, object);
          }
        }
        expect(new Set(store.values())).toEqual(new Set(model.values()));
        for (const key of ["x", "y"]) {
          expect(new Set(store.byIndex("group", key))).toEqual(
            new Set([...model.values()].filter((each) => each.group === key)),
          );
        }
      }),
    );
  });
});

describe("versions", () => {
  it("compare as integers of any length", () => {
    expect(compareVersions("9", "10")).toBeLessThan(0);
    expect(compareVersions("9007199254740993", "9007199254740992")).toBeGreaterThan(0);
    expect(compareVersions("7", "7")).toBe(0);
  });
});
