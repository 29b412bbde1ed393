import type { Recorder } from "../e2e/support/recorder.ts";
import type { AgentTruth, Figures, Place, Remains } from "./messages.ts";
import { ClusterProcess } from "./processes.ts";
import { IMAGE, NAMESPACE } from "./script.ts";

/** Where the runs take place: a cluster, its weather, and who says what is true of it. */
export interface Stage {
  readonly place: Place;
  truthOf(agentId: string): Promise<AgentTruth>;
  /** Nobody will ask about this agent again. */
  forget(agentId: string): void;
  /** Everything that there is of an agent, in words. */
  explain(agentId: string): Promise<string>;
  /** Writes what the watches told of an agent; the path of a file that `k8s-run-informer replay` reads. Null: nothing. */
  trace(agentId: string): Promise<string | null>;
  figures(): Promise<Figures>;
  /** Ends the weather. */
  clear(): Promise<void>;
  remains(): Promise<Remains>;
  /** Ends the stage, whatever it does. */
  end(): Promise<void>;
}

/** The embedded Kubernetes in a process of its own, which knows all. */
export async function embeddedStage(
  {
    seed,
    directory,
    cpu,
    memory,
    moves,
  }: Pick<Place, "cpu" | "memory" | "moves"> & { readonly seed: number; readonly directory: string },
  record: (kubeconfig: string) => Recorder,
  onWrong: (what: string) => void,
): Promise<Stage> {
  const cluster = new ClusterProcess([String(seed), directory, String(moves)], onWrong);
  const { kubeconfig } = await cluster.next("ready");
  const recorder = record(kubeconfig);
  return {
    place: { form: "embedded", kubeconfig, namespace: NAMESPACE, image: IMAGE, cpu, memory, moves },
    truthOf: async (agentId) => (await cluster.ask({ kind: "agent", agentId }, "agent")).truth,
    forget: (agentId) => {
      cluster.tell({ kind: "forget", agentId });
      recorder.forget(agentId);
    },
    explain: async (agentId) => (await cluster.ask({ kind: "explain", agentId }, "explain")).text,
    trace: (agentId) => recorder.write(agentId),
    figures: async () => (await cluster.ask({ kind: "figures" }, "figures")).figures,
    clear: async () => {
      await cluster.ask({ kind: "clear" }, "cleared");
      // Its own watches are none that anybody left.
      await recorder.stop();
    },
    remains: async () => (await cluster.ask({ kind: "remains" }, "remains")).remains,
    end: async () => {
      await recorder.stop();
      cluster.kill();
    },
  };
}
