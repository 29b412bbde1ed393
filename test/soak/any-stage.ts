import { Cluster, isAlreadyExists, type Job, loadKubeConfig, type Pod } from "../../src/engine/index.ts";
import type { Recorder } from "../e2e/support/recorder.ts";
import { Hooks } from "./hooks.ts";
import type { Place, Remains } from "./messages.ts";
import type { Stage } from "./stage.ts";
import { Witness } from "./witness.ts";

const SELECTOR = "app.kubernetes.io/managed-by=paperclip";

interface List<T> {
  readonly items: readonly T[] | null;
}

/** Any cluster that a kubeconfig leads to: its pods say what is true, and commands are its weather. */
export async function anyStage(
  place: Place,
  seed: number,
  record: (onFrame: Witness["see"]) => Recorder,
  onWrong: (what: string) => void,
): Promise<Stage> {
  const { kubeconfig, namespace } = place;
  const cluster = new Cluster({ kubeConfig: loadKubeConfig(kubeconfig) });
  const isOurs = await createNamespace(cluster, namespace);
  const witness = new Witness();
  const recorder = record((frame) => witness.see(frame));
  const hooks = new Hooks({
    env: process.env,
    kubeconfig,
    namespace,
    seed,
    pick: (share) => witness.pick(share),
    onHarm: (what, harms, subject) => witness.harm(what, harms, subject),
    onFailure: onWrong,
  });
  hooks.begin();
  const list = async <T>(path: string) => {
    const { items } = await cluster.json<List<T>>({ path: `${path}?labelSelector=${encodeURIComponent(SELECTOR)}` });
    return items ?? [];
  };
  const inNamespace = `namespaces/${encodeURIComponent(namespace)}`;
  const jobs = () => list<Job>(`/apis/batch/v1/${inNamespace}/jobs`);
  const pods = () => list<Pod>(`/api/v1/${inNamespace}/pods`);
  return {
    place,
    truthOf: async (agentId) => witness.truthOf(agentId),
    forget: (agentId) => {
      witness.forget(agentId);
      recorder.forget(agentId);
    },
    explain: async (agentId) => {
      const all = [...(await jobs()), ...(await pods())];
      const its = all.filter(({ metadata }) => metadata.labels?.["paperclip.io/agent-id"] === agentId);
      return JSON.stringify({
        ...witness.truthOf(agentId),
        objects: its.map(({ metadata, status }) => ({ metadata, status })),
      });
    },
    trace: (agentId) => recorder.write(agentId),
    figures: async () => ({
      faults: hooks.counts,
      rss: 0,
      notes: [`${witness.unseen} containers whose end was not shown`],
    }),
    clear: () => hooks.end(),
    remains: async (): Promise<Remains> => {
      const left: Record<string, string[]> = {};
      const [leftJobs, leftPods, secrets] = await Promise.all([
        jobs(),
        pods(),
        list<Job>(`/api/v1/${inNamespace}/secrets`),
      ]);
      for (const [what, objects] of Object.entries({ jobs: leftJobs, pods: leftPods, secrets })) {
        if (objects.length > 0) left[what] = objects.map(({ metadata }) => metadata.name);
      }
      const stuck = leftPods.filter(({ metadata, status }) => {
        return metadata.deletionTimestamp === undefined && (status.phase ?? "Pending") === "Pending";
      });
      return { left, waiting: stuck.map(({ metadata }) => metadata.labels?.["paperclip.io/run-id"] ?? "") };
    },
    end: async () => {
      await hooks.end();
      await recorder.stop();
      if (isOurs) await cluster.json({ method: "DELETE", path: `/api/v1/${inNamespace}` }).catch(() => undefined);
      await cluster.close();
    },
  };
}

/** False: it was there before, and stays. */
async function createNamespace(cluster: Cluster, name: string): Promise<boolean> {
  try {
    const body = { apiVersion: "v1", kind: "Namespace", metadata: { name } };
    await cluster.json({ method: "POST", path: "/api/v1/namespaces", body });
    return true;
  } catch (error) {
    if (isAlreadyExists(error)) return false;
    throw error;
  }
}
