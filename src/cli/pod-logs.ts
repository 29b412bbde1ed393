import type { Informer } from "../engine/informer/informer.ts";
import type { Pod } from "../engine/kubernetes.ts";
import { containerView, type LogSource } from "../engine/logs/index.ts";

export interface PodContainer {
  /** As it was when its container was found. */
  readonly pod: Pod;
  readonly source: LogSource;
  /** As it was last known, also after its deletion. */
  last(): Pod;
}

interface Choice {
  /** Only containers of this name. Default: all. */
  container?: string | undefined;
  /** Init containers, too. */
  initContainers: boolean;
}

/** Containers whose logs can be followed, as the pods of an informer appear. One subscription, however many pods. */
export class PodLogs {
  readonly #pods = new Map<string, { pod: Pod | undefined; last: Pod; listeners: Set<() => void> }>();
  readonly #onContainer: (each: PodContainer) => void;
  readonly #choice: Choice;

  /** `onContainer` is called once for each container that is chosen. */
  constructor(choice: Choice, onContainer: (each: PodContainer) => void) {
    this.#choice = choice;
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
        known.last = object;
        this.#pods.delete(uid);
        for (const listener of [...known.listeners]) listener();
      } else if (known) {
        known.pod = object;
        known.last = object;
        for (const listener of [...known.listeners]) listener();
      } else {
        this.#add(object);
      }
    });
  }

  #add(pod: Pod): void {
    const entry = { pod: pod as Pod | undefined, last: pod, listeners: new Set<() => void>() };
    this.#pods.set(pod.metadata.uid, entry);
    const { namespace, name: podName } = pod.metadata;
    const { container: wanted, initContainers } = this.#choice;
    const { containers, initContainers: init = [] } = pod.spec;
    for (const { name: container } of initContainers ? [...init, ...containers] : containers) {
      if (wanted !== undefined && container !== wanted) continue;
      const source: LogSource = {
        namespace,
        podName,
        container,
        view: () => containerView(entry.pod, container),
        onChange(listener) {
          entry.listeners.add(listener);
          return () => entry.listeners.delete(listener);
        },
      };
      this.#onContainer({ pod, source, last: () => entry.last });
    }
  }
}
