import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ConfigError } from "../../../src/adapter/errors.ts";
import { loadKubeConfig } from "../../../src/adapter/kubeconfig.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "adapter-kubeconfig-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const withUser = (user: object) =>
  JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "c", cluster: { server: "https://127.0.0.1:6443" } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  });

test("a token in a file is used", async () => {
  const path = join(directory, "token-file.json");
  await writeFile(path, withUser({ tokenFile: "token" }));
  await writeFile(join(directory, "token"), "the-first");
  const kubeConfig = loadKubeConfig(path, {});
  const options: { headers: Record<string, string> } = { headers: {} };
  await kubeConfig.applyToHTTPSOptions(options);
  expect(options.headers).toMatchObject({ Authorization: "Bearer the-first" });
});

test("a file that is no kubeconfig is a mistake in the configuration, named by its key", async () => {
  const path = join(directory, "empty");
  await writeFile(path, "");
  for (const bad of [path, join(directory, "nowhere")]) {
    const error: unknown = await Promise.try(() => loadKubeConfig(bad, {})).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).message).toMatch(/kubeconfig.*the file cannot be read|kubeconfig.*empty/s);
  }
});
