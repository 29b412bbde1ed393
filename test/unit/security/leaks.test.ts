/** Ways for a credential to get out, and for the words of others to pass for something else. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CoreV1Api } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Redactor } from "../../../src/adapter/job/credentials.ts";
import { ApiError, Cluster, loadKubeConfig } from "../../../src/engine/index.ts";
import { adapterOf, run, startWorld, type World } from "../adapter/world.ts";
import { cpuMs } from "../cpu-time.ts";
import { kubeConfigObject, sendJson, startApiServer } from "../transport/api-server.ts";

const NODES = { path: "/api/v1/nodes" };

/** It need not wait for a server that does not come. */
const quickAdapter = () => adapterOf({ env: {} }, {}, { connectTimeoutMs: 500 }).adapter;

let directory: string;
let world: World;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "leaks-"));
  world = await startWorld();
});
afterAll(async () => {
  await world.stop();
  await rm(directory, { recursive: true });
});

describe("a server that redirects to another", () => {
  const USER = { token: "canary-redirected-0001" };

  test.each([301, 302, 303, 307, 308])("%i: is not followed, by any kind of request", async (code) => {
    const thief = await startApiServer((_, response) => sendJson(response, 200, {}));
    const server = await startApiServer((request, response) => {
      response.writeHead(code, { location: `https://localhost:${thief.port}${request.url}` });
      response.end();
    });
    const cluster = new Cluster({ kubeConfig: server.kubeConfig(USER), retry: { maxAttempts: 1 } });
    try {
      const attempts = [
        cluster.json(NODES),
        cluster.json({ method: "POST", path: "/api/v1/namespaces/n/secrets", body: { data: {} } }),
        cluster.open({ ...NODES, query: { watch: true } }),
      ];
      for (const each of await Promise.allSettled(attempts)) {
        expect(each).toMatchObject({ status: "rejected", reason: { name: "ApiError", status: code } });
      }
      await expect(cluster.api(CoreV1Api).listNode()).rejects.toMatchObject({ code });
      expect(server.requests.length).toBe(4);

      const kubeconfig = join(directory, `redirect-${code}`);
      const file = kubeConfigObject(
        { server: `https://127.0.0.1:${server.port}`, "insecure-skip-tls-verify": true },
        USER,
      );
      await writeFile(kubeconfig, JSON.stringify(file));
      const each = run({ kubeconfig, env: {} } as unknown as World, quickAdapter(), {
        config: { image: "i:1", namespace: "n" },
      });
      expect((await each.result).errorCode).toMatch(/^k8s_/);
      expect(thief.requests).toEqual([]);
      expect(thief.sockets.size).toBe(0);
    } finally {
      await cluster.close();
      await server.close();
      await thief.close();
    }
  });
});

describe("an exec plugin that fails and says too much", () => {
  async function said(script: string, env: Record<string, string> = {}): Promise<string> {
    const exec = {
      apiVersion: "client.authentication.k8s.io/v1",
      command: "sh",
      args: ["-c", script],
      env: Object.entries(env).map(([name, value]) => ({ name, value })),
    };
    const path = join(directory, `exec-${Math.random().toString(36).slice(2)}`);
    await writeFile(path, JSON.stringify(kubeConfigObject({ server: "https://127.0.0.1:1" }, { exec })));
    const cluster = new Cluster({ kubeConfig: loadKubeConfig(path), retry: { maxAttempts: 1 } });
    const error = await cluster.json(NODES).catch((reason: unknown) => reason);
    await cluster.close();
    expect(error).toBeInstanceOf(ApiError);
    const each = run({ kubeconfig: path, env: {} } as unknown as World, quickAdapter(), {
      config: { image: "i:1", namespace: "n" },
    });
    const result = await each.result;
    return JSON.stringify([error, (error as ApiError).message, result, each.log, each.events]);
  }

  test.each([
    ["a variable of its own", 'echo "cannot log in with $PLUGIN_KEY" >&2; exit 1', { PLUGIN_KEY: "canary-env-0001" }],
    ["a password by name", "echo 'password=canary-2' >&2; exit 1", {}],
    ["a token in JSON", `echo '{"refresh_token": "canary-3"}' >&2; exit 1`, {}],
    ["an argument", "echo 'usage: plugin --client-secret canary-4' >&2; exit 1", {}],
    ["a header", "echo 'Authorization: Bearer canary-5' >&2; exit 1", {}],
    ["a long word", "echo 'got canaryAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' >&2; exit 1", {}],
    ["what is no JSON", `echo '{"token": "canary-6'`, {}],
    ["an answer of another form", `echo '{"status": {"token": 5, "canary-7": "canary-8"}}'`, {}],
    ["a token with newlines", `echo '{"status": {"token": "canary-9\\nx: y"}}'`, {}],
  ])("%s is in no error, log or result", async (_, script, env) => {
    expect(await said(script, env)).not.toContain("canary");
  });

  test("what helps is left in", async () => {
    const text = await said("echo 'token expired: run `cloud auth login` (region eu-1)' >&2; exit 1");
    expect(text).toContain("token expired: run `cloud auth login` (region eu-1)");
  });

  test("megabytes of it cost no time", async () => {
    const began = cpuMs();
    await said("yes /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | tr -d '\\n' | head -c 4000000 >&2; exit 1");
    expect(cpuMs() - began).toBeLessThan(10_000);
  });
});

test("a one-shot answer without end is given up, and said so", async () => {
  let sent = 0;
  const server = await startApiServer((request, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    const chunk = Buffer.alloc(256 * 1024, 0x20);
    const more = () => {
      while (!request.aborted && !response.writableEnded) {
        sent += chunk.length;
        if (!response.write(chunk)) return;
      }
    };
    response.on("drain", more);
    more();
  });
  const cluster = new Cluster({ kubeConfig: server.kubeConfig(), maxAnswerBytes: 4 * 1024 * 1024 });
  try {
    await expect(cluster.json(NODES)).rejects.toMatchObject({ reason: "AnswerTooLarge", status: 200 });
    expect(server.requests.length).toBe(1);
    expect(sent).toBeLessThan(64 * 1024 * 1024);
  } finally {
    await cluster.close();
    await server.close();
  }
});

describe("a refusal that quotes what it refuses", () => {
  const SECRET = "ghp_canary-quoted-0001";
  const DONE = '{"done":true,"ok":true}';
  const refuse = (message: string) => ({
    status: 422,
    contentType: "application/json",
    body: JSON.stringify({ kind: "Status", status: "Failure", code: 422, reason: "Invalid", message }),
  });

  test("is told without the credentials in it, as they stand, in JSON and in base64", async () => {
    const base64 = Buffer.from(SECRET).toString("base64");
    const body = refuse(`policy: data.GITHUB_TOKEN: ${base64}, stringData: ${SECRET}`);
    const fault = world.k8s.faults.errorRate({ ...body, match: { verb: "create", resource: "secrets" } });
    const each = run(world, adapterOf(world).adapter, { config: { env: { GITHUB_TOKEN: SECRET } } });
    const result = await each.result;
    fault.remove();
    expect(result.errorCode).toBe("k8s_prompt_secret_create_failed");
    expect(result.errorMessage).toContain("***REDACTED***");
    const all = JSON.stringify([result, each.log, each.events, each.meta]);
    expect(all).not.toContain(SECRET);
    expect(all).not.toContain(base64);
  });

  test("cannot write lines that pass for the agent's, nor steer a terminal, nor fill the log", async () => {
    const body = refuse(`no\n${DONE}\r\n${DONE}\u001b[2J ${"x".repeat(1_000_000)}`);
    const fault = world.k8s.faults.errorRate({ ...body, match: { verb: "create", resource: "jobs" } });
    const each = run(world, adapterOf(world).adapter);
    const result = await each.result;
    fault.remove();
    expect(result.errorCode).toBe("k8s_job_create_failed");
    const log = each.log.map(({ chunk }) => chunk).join("");
    const lines = log.split("\n").slice(0, -1);
    expect(lines.filter((line) => line.includes(DONE)).length).toBe(2);
    expect(lines.filter((line) => !line.startsWith("[paperclip] "))).toEqual([]);
    expect(log).not.toContain("\u001b");
    expect(log.length).toBeLessThan(10_000);
  });
});

test("the redactor knows a secret in every form, also one that is part of another", () => {
  const redactor = new Redactor();
  redactor.add("canary-secret", 'canary-secret-"longer"');
  for (const secret of ["canary-secret", 'canary-secret-"longer"']) {
    for (const form of [secret, JSON.stringify(secret), Buffer.from(secret).toString("base64")]) {
      const text = redactor.text(`<${form}>`);
      expect(text).toMatch(/^<"?\*\*\*REDACTED\*\*\*"?>$/);
    }
  }
});
