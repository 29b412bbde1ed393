/** kubeconfig files that are none: `execute` says what is wrong with which, and nothing is started. */
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KubeConfigError, loadKubeConfig } from "../../../src/engine/index.ts";
import { adapterOf, run, type World } from "../adapter/world.ts";
import fc from "../property.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubeconfig-"));
});
afterAll(() => rm(directory, { recursive: true }));

/** Nobody listens on port 1. */
const good = {
  apiVersion: "v1",
  kind: "Config",
  "current-context": "c",
  clusters: [{ name: "k", cluster: { server: "https://127.0.0.1:1" } }],
  users: [{ name: "u", user: { token: "canary-kubeconfig-0001" } }],
  contexts: [{ name: "c", context: { cluster: "k", user: "u", namespace: "n" } }],
};
const pem = (text: string) => Buffer.from(text).toString("base64");

const FILES: [string, string][] = [
  ["empty", ""],
  ["blank", " \n\n"],
  ["no YAML", "{ a: [ }"],
  ["binary", "\0\u0001\u0002\ufffd"],
  ["HTML", "<html><body>Sign in</body></html>"],
  ["a text", "hello"],
  ["null", "null"],
  ["an array", "[]"],
  ["another document", "kind: Pod\nmetadata: {name: x}"],
  ["nothing in it", "apiVersion: v1\nkind: Config"],
  ["an unknown context", JSON.stringify({ ...good, "current-context": "nope" })],
  ["no current context", JSON.stringify({ ...good, "current-context": undefined })],
  ["a context of an unknown cluster", JSON.stringify({ ...good, clusters: [] })],
  ["no server", JSON.stringify({ ...good, clusters: [{ name: "k", cluster: {} }] })],
  ["a server that is no URL", JSON.stringify({ ...good, clusters: [{ name: "k", cluster: { server: "not a url" } }] })],
  [
    "a server of another scheme",
    JSON.stringify({ ...good, clusters: [{ name: "k", cluster: { server: "file:///etc/passwd" } }] }),
  ],
  [
    "an unreadable authority file",
    JSON.stringify({
      ...good,
      clusters: [
        { name: "k", cluster: { server: "https://127.0.0.1:1", "certificate-authority": "/nonexistent/ca.crt" } },
      ],
    }),
  ],
  [
    "an authority that is no certificate",
    JSON.stringify({
      ...good,
      clusters: [
        {
          name: "k",
          cluster: {
            server: "https://127.0.0.1:1",
            "certificate-authority-data": pem("-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----"),
          },
        },
      ],
    }),
  ],
  [
    "a client key that is none",
    JSON.stringify({
      ...good,
      users: [
        { name: "u", user: { "client-certificate-data": pem("x"), "client-key-data": pem("canary-kubeconfig-0001") } },
      ],
    }),
  ],
  [
    "an exec plugin that does not exist",
    JSON.stringify({
      ...good,
      users: [
        {
          name: "u",
          user: { exec: { apiVersion: "client.authentication.k8s.io/v1", command: "/nonexistent/plugin" } },
        },
      ],
    }),
  ],
  [
    "a proxy-url of a wrong type",
    JSON.stringify({
      ...good,
      clusters: [{ name: "k", cluster: { server: "https://127.0.0.1:1", "proxy-url": { toString: 1 } } }],
    }),
  ],
  [
    "an authority of a wrong type",
    JSON.stringify({
      ...good,
      clusters: [{ name: "k", cluster: { server: "https://127.0.0.1:1", "certificate-authority": ["x"] } }],
    }),
  ],
  ["a password that is a number", JSON.stringify({ ...good, users: [{ name: "u", user: { password: 1234 } }] })],
  ["clusters of a wrong type", JSON.stringify({ ...good, clusters: "k", users: 5, contexts: {} })],
];

async function executeWith(path: string) {
  const env = {};
  const { adapter } = adapterOf({ env });
  const each = run({ kubeconfig: path, env } as unknown as World, adapter, {
    config: { image: "i:1", namespace: "n" },
  });
  const result = await each.result;
  expect(result.executionRecovery).toEqual({ kind: "bootstrap", providerWorkStarted: false });
  expect(result.errorMessage).toBeTruthy();
  expect(JSON.stringify([result, each.log, each.meta])).not.toContain("canary-kubeconfig-0001");
  return result;
}

describe("execute, with a kubeconfig that is", () => {
  test.concurrent.each(FILES)("%s", async (name, content) => {
    const path = join(directory, name.replaceAll(/\W/g, "-"));
    await writeFile(path, content);
    expect((await executeWith(path)).errorCode).toMatch(/^k8s_(config_invalid|api_unreachable)$/);
  });

  test("not there, or a directory", async () => {
    await mkdir(join(directory, "folder"));
    for (const path of [join(directory, "missing"), join(directory, "folder")]) {
      const { errorCode, errorMessage } = await executeWith(path);
      expect(errorCode).toBe("k8s_config_invalid");
      expect(errorMessage).toContain(path);
    }
  });

  test.skipIf(process.getuid?.() === 0)("not readable", async () => {
    const path = join(directory, "secret");
    await writeFile(path, JSON.stringify(good));
    await chmod(path, 0);
    expect((await executeWith(path)).errorCode).toBe("k8s_config_invalid");
  });
});

test("loadKubeConfig of any damaged file: a KubeConfigError, or a kubeconfig", async () => {
  const text = JSON.stringify(good);
  const path = join(directory, "damaged");
  await fc.assert(
    fc.asyncProperty(
      fc.nat(text.length),
      fc.nat(text.length),
      fc.string({ unit: "binary", maxLength: 5 }),
      async (at, length, put) => {
        await writeFile(path, text.slice(0, at) + put + text.slice(at + (length % 20)));
        try {
          loadKubeConfig(path);
        } catch (error) {
          expect(error).toBeInstanceOf(KubeConfigError);
          expect((error as Error).message).not.toContain("canary-kubeconfig-0001");
        }
      },
    ),
    { numRuns: 300 },
  );
});
