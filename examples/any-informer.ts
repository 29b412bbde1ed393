/**
 * A cache of any resource, here of a custom one: `node examples/any-informer.ts`
 *
 * The informer lists once and watches from there: every change once, over cut connections, an expired version and a restart of the
 * server. Installed, the imports are "k8s-run-informer/engine" and "k8s-run-informer/embedded".
 */
import { EmbeddedKubernetes } from "../src/embedded/index.ts";
import { type KubeObject, loadKubeConfig, RunEngine } from "../src/engine/index.ts";

interface Widget extends KubeObject {
  readonly spec: { readonly color: string };
}

const k8s = await EmbeddedKubernetes.start({ namespaces: ["factory"] });
k8s.objects.create("customresourcedefinitions", {
  metadata: { name: "widgets.example.com" },
  spec: {
    group: "example.com",
    scope: "Namespaced",
    names: { plural: "widgets", kind: "Widget" },
    versions: [{ name: "v1", served: true, storage: true }],
  },
});
const make = (name: string, color: string) =>
  k8s.objects.create("widgets.example.com", { metadata: { name, namespace: "factory" }, spec: { color } });
make("first", "red");

// An engine watches Jobs and pods of its labels, too; an informer shares its connections and its end.
const engine = await RunEngine.start({
  kubeConfig: loadKubeConfig(k8s.kubeconfig),
  namespace: "factory",
  labels: { app: "any-informer" },
  signal: AbortSignal.timeout(30_000),
});
const widgets = engine.informer<Widget>({
  group: "example.com",
  version: "v1",
  plural: "widgets",
  namespaces: ["factory"],
  indexers: { color: ({ spec }) => spec.color },
  // Of each object only this is kept.
  trim: (raw) => {
    const { metadata, spec } = raw as Widget;
    return { metadata, spec };
  },
});
await widgets.whenSynced(AbortSignal.timeout(30_000));
console.log(`red: ${widgets.byIndex("color", "red").map(({ metadata }) => metadata.name)}`);

/** Resolves with the next change of this object. */
const changeOf = (name: string) =>
  new Promise<void>((resolve) => {
    const stop = widgets.subscribe(
      ({ type, object }) => {
        if (object.metadata.name !== name) return;
        console.log(`${type} ${name}: ${object.spec.color}`);
        stop();
        resolve();
      },
      { replay: false },
    );
  });
const added = changeOf("second");
make("second", "blue");
await added;

// What a restart of the server does to a watch: it ends, and its version is forgotten. What changed meanwhile is seen all the same.
const changes = [changeOf("first"), changeOf("second")];
k8s.faults.expireVersions();
k8s.faults.cutWatches({ how: "reset" });
k8s.objects.update("widgets.example.com", "factory", "first", (draft) => {
  draft.spec = { color: "blue" };
});
k8s.objects.delete("widgets.example.com", "factory", "second");
await Promise.all(changes);
console.log(`blue: ${widgets.byIndex("color", "blue").map(({ metadata }) => metadata.name)}`);
const { connected, ageMs } = widgets.freshness();
console.log(`connected: ${connected}, last word less than a minute ago: ${ageMs < 60_000}`);
await engine.stop();
await k8s.stop();
