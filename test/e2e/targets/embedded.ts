import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { FIXTURE_IMAGE } from "./fixture.ts";
import processPrograms from "./process-programs.ts";
import type { Target } from "./target.ts";

/** Every name under this host is an image that cannot be pulled. */
const MISSING_IMAGE = "missing.invalid/none:1";
const DEFAULT_TIME_SCALE = 5;

/** A Kubernetes in this process, whose containers are local processes: the same scripts as everywhere. */
export async function startEmbedded(env: NodeJS.ProcessEnv): Promise<Target> {
  const directory = await mkdtemp(join(tmpdir(), "k8s-run-informer-e2e-"));
  const timeScale = Number(env.E2E_TIME_SCALE ?? DEFAULT_TIME_SCALE);
  const k8s = await EmbeddedKubernetes.start({
    timeScale,
    // The 10 MB cases go over rotations. Larger than in kind-config.yaml, since this kubelet looks more often in real time.
    containerLogMaxSize: 4 * 1024 * 1024,
    programs: processPrograms,
  });
  k8s.failImagePull(MISSING_IMAGE);
  const kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig.json"));
  let users = 0;
  return {
    kubeconfig,
    image: FIXTURE_IMAGE,
    namespace: null,
    missingImage: MISSING_IMAGE,
    timeScale,
    sideBySide: true,
    operations: {
      restartApiServer: async () => {
        await k8s.restart({ mode: "kill", downMs: 3_000 });
        return null;
      },
      restartKubelet: async ({ node }) => {
        k8s.nodes.restartKubelet(node);
        return null;
      },
      expireVersions: async () => {
        k8s.faults.expireVersions();
        k8s.faults.cutWatches({ how: "reset" });
        return null;
      },
      oomKill: async ({ namespace, pod, container }) => {
        k8s.oomKill(namespace, pod, container);
        return null;
      },
      createUser: async ({ namespace, rules }) => {
        users += 1;
        const user = `e2e-${users}`;
        return { user, token: k8s.addUser({ name: user, rules: inNamespace(rules, namespace) }) };
      },
      setRules: async ({ namespace, user, rules }) => {
        k8s.authorization.setRules(user, inNamespace(rules, namespace));
        return null;
      },
      createToken: async ({ user }) => ({ token: k8s.addUser({ name: user }) }),
      expireToken: async ({ token }) => {
        k8s.authorization.expireToken(token);
        return null;
      },
    },
    unavailable: {},
    another: () => startEmbedded(env),
    stop: async () => {
      await k8s.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function inNamespace<R extends object>(rules: readonly R[], namespace: string): (R & { namespaces: string[] })[] {
  return rules.map((rule) => ({ ...rule, namespaces: [namespace] }));
}
