import { execFile } from "node:child_process";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Cluster, type KubeConfig, KubeConfigError, loadKubeConfig } from "../../../src/engine/transport/index.ts";
import { base64, clientCertificate, kubeConfigObject, kubeConfigOf, serverCertificate } from "./api-server.ts";

let directory = "";
beforeEach(async () => {
  directory = await fs.mkdtemp(path.join(os.tmpdir(), "kube-config-"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await fs.rm(directory, { recursive: true });
});

async function write(content: unknown, name = "config"): Promise<string> {
  const file = path.join(directory, name);
  await fs.writeFile(file, typeof content === "string" ? content : JSON.stringify(content));
  return file;
}

function failure(run: () => unknown): KubeConfigError {
  try {
    run();
  } catch (error) {
    if (error instanceof KubeConfigError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

const server = "https://127.0.0.1:6443";

describe("loadKubeConfig", () => {
  test("reads a file, YAML or JSON", async () => {
    expect(loadKubeConfig(await write(kubeConfigObject({ server }, { token: "t" }))).getCurrentCluster()?.server).toBe(
      server,
    );
  });

  test.each<[string, unknown, string, RegExp]>([
    ["an empty file", "  \n", "path", /empty.*kubectl config view/],
    ["no YAML", "a: [\nclient-key-data: SECRETSECRET", "path", /no YAML/],
    ["another document", "just text", "clusters", /no kubeconfig/],
    ["another object", { kind: "Pod" }, "clusters", /expected a list of clusters/],
    ["a cluster without server", kubeConfigObject({}, {}), "clusters[0].cluster.server", /missing/],
    [
      "a server that is no URL",
      kubeConfigObject({ server: "localhost" }, {}),
      "clusters[test].cluster.server",
      /"localhost"; expected a URL/,
    ],
    [
      "plain HTTP unasked for",
      kubeConfigObject({ server: "http://127.0.0.1:8080" }, { token: "t-1" }),
      "clusters[test].cluster.server",
      /insecure-skip-tls-verify/,
    ],
    [
      "a bad proxy URL",
      kubeConfigObject({ server, "proxy-url": "ftp://user:pass@proxy:1" }, {}),
      "clusters[test].cluster.proxy-url",
      /got "ftp:\/\/proxy:1"; expected http/,
    ],
    [
      "a proxy's password with a bare percent sign",
      kubeConfigObject({ server, "proxy-url": "http://user:100%@proxy:1" }, {}),
      "clusters[test].cluster.proxy-url",
      /got "http:\/\/…@proxy:1".*%25/,
    ],
    [
      "a proxy URL that is none",
      kubeConfigObject({ server, "proxy-url": "proxy user:pass" }, {}),
      "clusters[test].cluster.proxy-url",
      /no URL/,
    ],
    [
      "an unknown context",
      { ...kubeConfigObject({ server }, {}), "current-context": "prod" },
      "current-context",
      /"prod"; choose one of: test/,
    ],
    [
      "no context",
      { ...kubeConfigObject({ server }, {}), "current-context": undefined },
      "current-context",
      /got nothing/,
    ],
    [
      "an unknown cluster",
      {
        ...kubeConfigObject({ server }, {}),
        contexts: [{ name: "test", context: { cluster: "gone", user: "tester" } }],
      },
      "contexts[test].context.cluster",
      /"gone"/,
    ],
    [
      "an unknown user",
      { ...kubeConfigObject({ server }, {}), contexts: [{ name: "test", context: { cluster: "test", user: "gone" } }] },
      "contexts[test].context.user",
      /"gone"/,
    ],
    [
      "a CA that is no PEM",
      kubeConfigObject({ server, "certificate-authority-data": base64("nonsense") }, {}),
      "clusters[test].cluster.certificate-authority-data",
      /PEM in base64/,
    ],
    [
      "a CA file that is missing",
      kubeConfigObject({ server, "certificate-authority": "ca.pem" }, {}),
      "clusters[test].cluster.certificate-authority",
      /ca\.pem.*ENOENT/,
    ],
    [
      "a key that is no PEM",
      kubeConfigObject({ server }, { "client-key-data": base64("SECRET") }),
      "users[tester].user.client-key-data",
      /PEM in base64/,
    ],
  ])("%s names the field, what it got and what to do", async (_, content, field, message) => {
    const file = await write(content);
    const error = failure(() => loadKubeConfig(file));
    expect(error).toMatchObject({ name: "KubeConfigError", field });
    expect(error.message).toMatch(message);
    expect(error.message).not.toMatch(/SECRET|pass/);
  });

  test("a missing file, and a directory", () => {
    expect(failure(() => loadKubeConfig(path.join(directory, "none")))).toMatchObject({
      field: "path",
      message: expect.stringMatching(/none.*ENOENT/),
    });
    expect(failure(() => loadKubeConfig(directory)).message).toMatch(/EISDIR/);
  });

  test("a key of another certificate", async () => {
    const { cert } = serverCertificate();
    const { key } = clientCertificate("other");
    const file = await write(
      kubeConfigObject({ server }, { "client-certificate-data": base64(cert), "client-key-data": base64(key) }),
    );
    expect(failure(() => loadKubeConfig(file)).message).toMatch(/a key of another certificate/);
  });

  test("merges the files of KUBECONFIG: the first wins, missing ones are passed over", async () => {
    const first = await write({ ...kubeConfigObject({ server }, { token: "first" }), "current-context": "" }, "first");
    const second = kubeConfigObject({ server: "https://second:6443" }, { token: "second" });
    second.contexts.push({ name: "other", context: { cluster: "other", user: "tester", namespace: "ns2" } });
    second.clusters.push({ name: "other", cluster: { server: "https://other:6443" } });
    second["current-context"] = "other";
    vi.stubEnv("KUBECONFIG", [first, path.join(directory, "none"), await write(second, "second")].join(path.delimiter));
    const kubeConfig = loadKubeConfig();
    expect(kubeConfig.getCurrentCluster()?.server).toBe("https://other:6443");
    expect(kubeConfig.getCluster("test")?.server).toBe(server);
    expect(kubeConfig.getCurrentUser()?.token).toBe("first");
  });

  test("without any source says where it looked", () => {
    vi.stubEnv("KUBECONFIG", "");
    vi.stubEnv("HOME", directory);
    vi.stubEnv("KUBERNETES_SERVICE_HOST", "");
    expect(failure(() => loadKubeConfig()).message).toMatch(
      /set KUBECONFIG, write .*\.kube.config, or run inside a pod/,
    );
  });

  test("a Cluster checks a KubeConfig that came from elsewhere", () => {
    expect(
      failure(() => new Cluster({ kubeConfig: kubeConfigOf({ server: "http://127.0.0.1:1" }, { token: "t-1" }) }))
        .field,
    ).toBe("clusters[test].cluster.server");
  });

  test("an object and a text need no file, and are not changed", async () => {
    const object = kubeConfigObject({ server }, { token: "t" });
    const before = structuredClone(object);
    const kubeConfig = loadKubeConfig(object);
    kubeConfig.setCurrentContext("other");
    expect(object).toEqual(before);
    for (const source of [object, JSON.stringify(object), `# mine\n${JSON.stringify(object)}`])
      expect(loadKubeConfig(source).getCurrentUser()?.token).toBe("t");
    const error = failure(() => loadKubeConfig("users:\n- name: u\n  user: { token: SECRET"));
    expect(error.message).toMatch(/path: got the text, which is no YAML in line 3/);
    expect(`${error.message}${String(error.cause)}`).not.toMatch(/SECRET/);
  });

  test.each<[string, unknown, RegExp]>([
    ["a number, which Node would take for an open file", 0, /path: got a number; give a path, a text or an object/],
    ["what is loaded already", kubeConfigOf({ server }, {}), /path: got a KubeConfig; it is loaded already/],
    ["a list", [], /clusters: got a list/],
    ["nothing", null, /current-context: got nothing/],
  ])("%s", (_, source, message) => {
    expect(failure(() => loadKubeConfig(source as object)).message).toMatch(message);
  });

  test.each<[string, unknown]>([
    ["nothing", undefined],
    ["an object that is not loaded", kubeConfigObject({ server }, {})],
    ["a path", "/etc/kubeconfig"],
  ])("a Cluster of %s says to load it", (_, kubeConfig) => {
    const error = failure(() => new Cluster({ kubeConfig: kubeConfig as KubeConfig }));
    expect(error.message).toMatch(/kubeConfig: got .*; load it: loadKubeConfig/);
  });

  test("the context asked for, also where the current one is unusable", async () => {
    const object = kubeConfigObject({ server }, { token: "t" });
    object["current-context"] = "gone";
    expect(loadKubeConfig(object, { context: "test" }).getCurrentContext()).toBe("test");
    expect(failure(() => loadKubeConfig(object, { context: "prod" })).message).toMatch(
      /got "prod"; choose one of: test/,
    );
  });
});

test("importing the engine loads neither client-node nor what only connections need", async () => {
  const engine = new URL("../../../src/engine/index.ts", import.meta.url).href;
  const script = `
    import { registerHooks } from "node:module";
    const seen = [];
    registerHooks({ resolve: (specifier, context, next) => (seen.push(specifier), next(specifier, context)) });
    await import(${JSON.stringify(engine)});
    console.log(JSON.stringify(seen));`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
  const seen = new Set<string>(JSON.parse(stdout));
  expect(seen).toContain("js-yaml");
  for (const heavy of ["@kubernetes/client-node", "socks", "node:http", "node:https", "node:http2", "node:tls"])
    expect(seen).not.toContain(heavy);
});
