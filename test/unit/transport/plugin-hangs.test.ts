import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { afterEach, expect, test, vi } from "vitest";
import { Credentials } from "../../../src/engine/transport/credentials.ts";

afterEach(() => vi.useRealTimers());

test("a plugin that hangs is started once, however often it is waited for", async () => {
  const directory = await fs.mkdtemp(path.join(os.tmpdir(), "plugin-"));
  const runs = path.join(directory, "runs");
  const script = `require("node:fs").appendFileSync(${JSON.stringify(runs)}, process.pid + "\\n"); setTimeout(() => {}, 20_000)`;
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromOptions({
    clusters: [{ name: "c", server: "https://127.0.0.1:1" }],
    users: [{ name: "u", exec: { command: process.execPath, args: ["-e", script] } }],
    contexts: [{ name: "x", cluster: "c", user: "u" }],
    currentContext: "x",
  });
  const credentials = new Credentials(kubeConfig);
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  for (let n = 0; n < 3; n++) {
    const got = expect(credentials.get()).rejects.toThrow(/were not had within/);
    await vi.advanceTimersByTimeAsync(60_000);
    await got;
  }
  vi.useRealTimers();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const pids = (await fs.readFile(runs, "utf8")).trim().split("\n");
  for (const pid of pids) process.kill(Number(pid));
  expect(pids).toHaveLength(1);
});
