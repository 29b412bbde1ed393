/** Who is not the API server that the kubeconfig names, gets no request: no token, no Job, no prompt. */
import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EmbeddedKubernetes, type KubeConfigFile } from "../../../src/embedded/index.ts";
import { ApiError, Cluster, loadKubeConfig, stopSharedEngines } from "../../../src/engine/index.ts";
import { adapterOf, run, startWorld, type World } from "../adapter/world.ts";

let world: World;
/** Another cluster, with another authority. */
let other: EmbeddedKubernetes;
beforeAll(async () => {
  world = await startWorld();
  other = await EmbeddedKubernetes.start({ namespaces: ["paperclip"] });
});
afterAll(async () => {
  await stopSharedEngines();
  await other.stop();
  await world.stop();
});

async function kubeconfig(change: (cluster: KubeConfigFile["clusters"][number]["cluster"]) => void): Promise<string> {
  const file = JSON.parse(await readFile(world.kubeconfig, "utf8")) as KubeConfigFile;
  for (const { cluster } of file.clusters) change(cluster);
  const path = `${world.kubeconfig}-${Math.random().toString(36).slice(2)}`;
  await writeFile(path, JSON.stringify(file));
  return path;
}

const untrusted: [string, (cluster: KubeConfigFile["clusters"][number]["cluster"]) => void][] = [
  ["a server of another authority", (cluster) => Object.assign(cluster, { server: other.url })],
  [
    "a server that no authority of the system knows",
    (cluster) => Reflect.deleteProperty(cluster, "certificate-authority-data"),
  ],
  [
    "a name that is not in the certificate",
    (cluster) => Object.assign(cluster, { "tls-server-name": "somebody.else" }),
  ],
];

test.each(untrusted)("%s is refused", async (_, change) => {
  other.requests.reset();
  world.k8s.requests.reset();
  const path = await kubeconfig(change);
  const cluster = new Cluster({ kubeConfig: loadKubeConfig(path) });
  const error = await cluster.json({ path: "/version" }).catch((reason: unknown) => reason);
  await cluster.close();
  expect(error).toBeInstanceOf(ApiError);
  expect((error as ApiError).status).toBe(0);
  expect((error as ApiError).message).toMatch(/certificate|self.signed|altname|issuer/i);

  const each = run(world, adapterOf(world).adapter, { config: { kubeconfig: path } });
  const result = await each.result;
  expect(result.errorCode).toBe("k8s_api_unreachable");
  expect(result.errorMessage).toMatch(/certificate|self.signed|altname|issuer/i);
  expect(other.requests.total + world.k8s.requests.total).toBe(0);
});

test("NODE_TLS_REJECT_UNAUTHORIZED=0 of the host's own environment changes nothing", async () => {
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
  try {
    const path = await kubeconfig((cluster) => Object.assign(cluster, { server: other.url }));
    const cluster = new Cluster({ kubeConfig: loadKubeConfig(path) });
    await expect(cluster.json({ path: "/version" })).rejects.toBeInstanceOf(ApiError);
    await cluster.close();
  } finally {
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  }
});

test("insecure-skip-tls-verify of the kubeconfig is followed, since a person wrote it there", async () => {
  const path = await kubeconfig((cluster) => {
    Reflect.deleteProperty(cluster, "certificate-authority-data");
    Object.assign(cluster, { "insecure-skip-tls-verify": true });
  });
  const cluster = new Cluster({ kubeConfig: loadKubeConfig(path) });
  expect(await cluster.json({ path: "/version" })).toHaveProperty("gitVersion");
  await cluster.close();
});
