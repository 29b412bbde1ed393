import type { Informer } from "../engine/informer/informer.ts";
import type { Pod } from "../engine/kubernetes.ts";
import { containerView, type LogSource } from "../engine/logs/index.ts";

/** Containers whose logs can be followed, as the pods of an informer appear. One subscription, however many pods. */
export class PodLogs {
  readonly #pods = new Map<string, { pod: Pod | undefined; listeners: Set<() => void> }>();
  readonly #onContainer: (pod: Pod, source: LogSource) => void;
  readonly #container: string | undefined;

  /** `container`: only those of this name; default all main containers. `onContainer` is called once for each. */
  constructor(container: string | undefined, onContainer: (pod: Pod, source: LogSource) => void) {
    this.#container = container;
    this.#onContainer = onContainer;
  }

  /** Returns the function that ends it. */
  watch(informer: Informer<Pod>): () => void {
    return informer.subscribe(({ type, object }) => {
      const { uid } = object.metadata;
      const known = this.#pods.get(uid);
      if (type === "deleted") {
        if (!known) return;
        known.pod = undefined;
        this.#pods.delete(uid);
        for (const listener of [...known.listeners]) listener();
      } else if (known) {
        known.pod = object;
        for (const listener of [...known.listeners]) listener();
      } else {
        this.#add(object);
      }
    });
  }

  #add(pod: Pod): void {
    const entry = { pod: pod as Pod | undefined, listeners: new Set<() => void>() };
    this.#pods.set(pod.metadata.uid, entry);
    const { namespace, name: podName } = pod.metadata;
    const main = pod.spec.containers.map(({ name }) => name);
    const init = (pod.spec.initContainers ?? []).map(({ name }) => name);
    const names = this.#container === undefined ? main : [...main, ...init].filter((name) => name === this.#container);
    for (const container of names) {
      this.#onContainer(pod, {
        namespace,
        podName,
        container,
        view: () => containerView(entry.pod, container),
        onChange(listener) {
          entry.listeners.add(listener);
          return () => entry.listeners.delete(listener);
        },
      });
    }
  }
}
