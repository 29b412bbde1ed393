import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadAllYaml } from "@kubernetes/client-node";
import { expect } from "vitest";
import { ApiError, loadKubeConfig, RunEngine } from "../../src/engine/index.ts";
import { RUN_LABEL } from "./context.ts";
import { execute } from "./support/adapter.ts";
import { CONTAINER, jobManifest } from "./support/jobs.ts";
import { ReceivedLines } from "./support/lines.ts";
import { type Scene, Suite } from "./support/suite.ts";
import { kubeconfigText } from "./support/token-kubeconfig.ts";
import type { OperationName, Rule } from "./targets/target.ts";

/** Permissions and credentials that change under a running process. */
const suite = new Suite();
const needs: OperationName[] = ["createUser", "setRules", "createToken", "expireToken"];

suite.case(
  "engine without `watch`: the exact refusal at once; granted while it waits, it goes on",
  async (scene) => {
    await withUser(scene, withoutWatch(await documentedRules()), async (user) => {
      const kubeConfig = loadKubeConfig(user.kubeconfig);
      const options = { kubeConfig, namespace: scene.namespace, labels: { [RUN_LABEL]: scene.context.suiteRun } };
      const refusal: unknown = await RunEngine.start(options).catch((error: unknown) => error);
      expectRefusal(refusal, scene.namespace);
      const engine = RunEngine.create(options);
      try {
        expectRefusal(await engine.synced(scene.signal).catch((error: unknown) => error), scene.namespace);
        await user.setRules(await documentedRules());
        // Refused again as long as its next try has not been made.
        await untilSynced(engine, scene.signal);
        const run = await engine.launch(
          jobManifest(scene.context, { name: scene.id, script: "init; lines 5; result" }),
        );
        scene.watchJob(run.jobName);
        const lines = new ReceivedLines();
        for await (const { text } of run.logs({ container: CONTAINER, signal: scene.signal })) lines.pushLine(text);
        expect(await run.terminated({ container: CONTAINER, signal: scene.signal })).toMatchObject({
          kind: "succeeded",
        });
        lines.expectExactlyOnce(7);
        await run.delete();
      } finally {
        await engine.stop();
      }
    });
  },
  { needs },
);

suite.case(
  "adapter without `watch`: refused before anything is created, naming verb and resource; granted, the next run works",
  async (scene) => {
    await withUser(scene, withoutWatch(await documentedRules()), async (user) => {
      const config = { kubeconfig: user.kubeconfig };
      const refused = execute(scene, { script: "init; result", config });
      const result = await refused.result;
      expect(result).toMatchObject({ errorCode: "k8s_forbidden", executionRecovery: { kind: "bootstrap" } });
      expect(result.errorMessage).toMatch(/cannot watch resource "(jobs|pods)"/);
      await user.setRules(await documentedRules());
      const run = execute(scene, { script: "init; lines 5; result", config });
      expect(await run.result).toMatchObject({ exitCode: 0 });
      run.lines.expectExactlyOnce(7);
    });
  },
  { needs },
);

suite.case(
  "a token that expires mid-run: the new one is read, every line arrives, and the next run starts",
  async (scene) => {
    await withUser(scene, await documentedRules(), async (user) => {
      const engine = await RunEngine.start({
        kubeConfig: loadKubeConfig(user.kubeconfig),
        namespace: scene.namespace,
        labels: { [RUN_LABEL]: scene.context.suiteRun },
      });
      try {
        for (const [index, script] of ["init; lines 60 0.05; result", "init; lines 5; result"].entries()) {
          const manifest = jobManifest(scene.context, { name: `${scene.id}-${index}`, script });
          scene.watchJob(manifest.metadata.name);
          const run = await engine.launch(manifest, { signal: scene.signal });
          const lines = new ReceivedLines();
          const read = async () => {
            for await (const { text } of run.logs({ container: CONTAINER, signal: scene.signal })) lines.pushLine(text);
          };
          const reading = read();
          if (index === 0) {
            await lines.atLeast(10, scene.signal);
            await user.renewToken();
          }
          const end = await run.terminated({ container: CONTAINER, signal: scene.signal });
          expect(end).toMatchObject({ kind: "succeeded", exitCode: 0 });
          await reading;
          lines.expectExactlyOnce(index === 0 ? 62 : 7);
          await run.delete();
        }
      } finally {
        await engine.stop();
      }
    });
  },
  { needs },
);

/** What docs and manifests tell people to grant. */
async function documentedRules(): Promise<Rule[]> {
  const file = new URL("../../deploy/rbac.yaml", import.meta.url);
  const documents = loadAllYaml(await readFile(file, "utf8")) as { kind?: string; rules?: Rule[] }[];
  return documents.flatMap(({ kind, rules = [] }) => (kind === "Role" ? rules : []));
}

function withoutWatch(rules: readonly Rule[]): Rule[] {
  return rules.map((rule) => ({ ...rule, verbs: rule.verbs.filter((verb) => verb !== "watch") }));
}

function expectRefusal(error: unknown, namespace: string): void {
  expect(error).toBeInstanceOf(ApiError);
  const { status, reason, message } = error as ApiError;
  expect({ status, reason }).toEqual({ status: 403, reason: "Forbidden" });
  expect(message).toMatch(
    new RegExp(
      `(jobs\\.batch|pods) is forbidden: User "[^"]+" cannot watch resource "(jobs|pods)" in API group "(batch)?" in the namespace "${namespace}"`,
    ),
  );
}

async function untilSynced(engine: RunEngine, signal: AbortSignal): Promise<void> {
  while (true) {
    const tried = new Promise((resolve) => engine.on("recovered", resolve));
    try {
      await engine.synced(signal);
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ApiError) || error.status !== 403) throw error;
    }
    await tried;
  }
}

interface TestUser {
  /** A kubeconfig whose token stands in a file of its own, as in a pod. */
  readonly kubeconfig: string;
  setRules(rules: readonly Rule[]): Promise<void>;
  /** Writes another token, and makes the one before invalid. */
  renewToken(): Promise<void>;
}

async function withUser(scene: Scene, rules: readonly Rule[], use: (user: TestUser) => Promise<void>): Promise<void> {
  const { namespace } = scene;
  const created = await scene.operate("createUser", { namespace, rules });
  const { user } = created;
  let { token } = created;
  const directory = await mkdtemp(join(tmpdir(), "k8s-run-informer-user-"));
  const tokenFile = join(directory, "token");
  const kubeconfig = join(directory, "kubeconfig.json");
  try {
    await writeFile(tokenFile, token, { mode: 0o600 });
    const admin = loadKubeConfig(scene.context.kubeconfig);
    await writeFile(kubeconfig, kubeconfigText(admin, { tokenFile }, namespace), { mode: 0o600 });
    await use({
      kubeconfig,
      setRules: async (changed) => {
        await scene.operate("setRules", { namespace, user, rules: changed });
      },
      renewToken: async () => {
        const old = token;
        ({ token } = await scene.operate("createToken", { namespace, user }));
        await writeFile(tokenFile, token, { mode: 0o600 });
        await scene.operate("expireToken", { namespace, token: old });
      },
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
