/** What agents print, people configure and files hold: read, or refused by an error that names the place. Never anything else. */

import { readdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { ConfigError } from "../../../../src/adapter/errors.ts";
import { buildManifest } from "../../../../src/adapter/job/manifest.ts";
import { classifyRun } from "../../../../src/claude/classify.ts";
import { parseClaudeConfig } from "../../../../src/claude/config.ts";
import { configSchema } from "../../../../src/claude/config-schema.ts";
import { formatClaudeStreamEvent } from "../../../../src/claude/format-event.ts";
import { ClaudeResultParser } from "../../../../src/claude/stream-json.ts";
import { parseStdoutLine } from "../../../../src/claude/ui-parser.ts";
import { KubeConfigError, loadKubeConfig } from "../../../../src/engine/index.ts";
import { manifestInput } from "../../adapter/fixtures.ts";
import { outcomeOf, recording } from "../../claude/runs.ts";
import fc from "../../property.ts";
import { hostile, isPolluted } from "../values.ts";
import { fuzz, fuzzTimeoutMs } from "./fuzz.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "fuzz-"));
});
afterAll(() => rm(directory, { recursive: true }));
afterEach(() => expect(isPolluted()).toBe(false));

function recordings(): string[] {
  const names = readdirSync(new URL("../../../fixtures/claude-stream-json/", import.meta.url));
  return names.filter((name) => name.endsWith(".jsonl")).map((name) => name.slice(0, -".jsonl".length));
}

/** A JSON document of which anything is replaced, left out, nested, cut or put in. */
function damaged(documents: readonly string[]): fc.Arbitrary<string> {
  const value = fc.oneof(
    fc.constantFrom<unknown>(null, 0, -1, 1e308, "", [], {}, true, [[]], { a: 1 }, "x".repeat(300), { toString: 1 }),
    fc.jsonValue({ maxDepth: 3 }),
    fc.string({ unit: "binary", maxLength: 20 }),
  );
  const change = fc.tuple(fc.nat(200), fc.constantFrom("replace", "drop", "wrap", "__proto__"), value);
  return fc
    .tuple(
      fc.constantFrom(...documents),
      fc.array(change, { maxLength: 4 }),
      fc.option(fc.tuple(fc.nat(), fc.string({ unit: "binary", maxLength: 4 })), { freq: 4 }),
    )
    .map(([document, changes, cut]) => {
      let text = document;
      for (const [at, how, by] of changes) {
        let left = at;
        text =
          JSON.stringify(JSON.parse(text), (key, each) => {
            if (key === "" || left-- !== 0) return each;
            if (how === "drop") return undefined;
            return how === "replace" ? by : how === "wrap" ? [each] : JSON.parse('{"__proto__":{"polluted":1}}');
          }) ?? "null";
      }
      if (cut === null) return text;
      const at = cut[0] % (text.length + 1);
      return text.slice(0, at) + cut[1] + text.slice(at + (cut[0] % 7));
    });
}

test("stream-json, in the run, the terminal and the browser", { timeout: fuzzTimeoutMs() }, () => {
  const lines = recordings()
    .flatMap((name) => recording(name))
    .filter((line) => line.startsWith("{"));
  return fuzz(
    "stream-json",
    fc.property(fc.array(damaged(lines), { maxLength: 6 }), (output) => {
      const parser = new ClaudeResultParser();
      for (const line of output) {
        parser.push(line);
        for (const entry of parseStdoutLine(line, "t")) expect(entry.ts).toBe("t");
        for (const text of formatClaudeStreamEvent(line, true)) expect(typeof text).toBe("string");
      }
      parser.finish();
      expect(JSON.stringify(classifyRun(outcomeOf(output), new Date("2026-11-24T00:00:00Z")))).toContain('"exitCode"');
    }),
    { triesAtOnce: 100 },
  );
});

test("configuration", { timeout: fuzzTimeoutMs() }, () => {
  const keys = [...configSchema().fields.map(({ key }) => key), "__proto__", "constructor", "resources.limits.memory"];
  let accepted = 0;
  return fuzz(
    "configuration",
    fc.property(fc.dictionary(fc.constantFrom(...keys), hostile(), { maxKeys: 5 }), (raw) => {
      try {
        parseClaudeConfig(raw);
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
        const { key, message } = error as ConfigError;
        expect(Object.keys(raw).some((each) => key.startsWith(each))).toBe(true);
        expect(message.length).toBeLessThan(12_000);
        return;
      }
      accepted += 1;
      const { job } = buildManifest(manifestInput({ raw }));
      expect(JSON.parse(JSON.stringify(job))).toHaveProperty("kind", "Job");
    }),
    { triesAtOnce: 100, told: () => `, ${accepted} accepted` },
  ).then(() => expect(accepted).toBeGreaterThan(0));
});

test("kubeconfig files", { timeout: fuzzTimeoutMs() }, () => {
  const secret = "canary-kubeconfig-0001";
  const user = (more: object) => [{ name: "u", user: more }];
  const whole = (users: object[]) =>
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "c",
      clusters: [
        { name: "k", cluster: { server: "https://127.0.0.1:1", "tls-server-name": "x", "proxy-url": "http://p:1" } },
      ],
      users,
      contexts: [{ name: "c", context: { cluster: "k", user: "u", namespace: "n" } }],
    });
  const documents = [
    whole(user({ token: secret })),
    whole(user({ tokenFile: "token", "client-certificate": "cert.pem", "client-key": "key.pem" })),
    whole(user({ username: "a", password: secret })),
    whole(user({ "client-key-data": Buffer.from(secret).toString("base64") })),
    whole(
      user({
        exec: { apiVersion: "client.authentication.k8s.io/v1", command: "x", env: [{ name: "A", value: secret }] },
      }),
    ),
  ];
  const path = join(directory, "kubeconfig");
  let accepted = 0;
  return fuzz(
    "kubeconfigs",
    fc.property(damaged(documents), (text) => {
      writeFileSync(path, text);
      try {
        loadKubeConfig(path);
        accepted += 1;
      } catch (error) {
        expect(error).toBeInstanceOf(KubeConfigError);
        expect((error as Error).message).not.toContain(secret);
      }
    }),
    { triesAtOnce: 100, told: () => `, ${accepted} accepted` },
  ).then(() => expect(accepted).toBeGreaterThan(0));
});
