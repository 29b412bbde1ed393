/** Each key of the agent's configuration with values that nobody meant to write. */

import { afterEach, describe, expect, test } from "vitest";
import { parseBaseConfig } from "../../../src/adapter/config/config.ts";
import { ConfigError } from "../../../src/adapter/errors.ts";
import { buildManifest } from "../../../src/adapter/job/manifest.ts";
import { parseClaudeConfig } from "../../../src/claude/config.ts";
import { configSchema } from "../../../src/claude/config-schema.ts";
import { contextOf, manifestInput } from "../adapter/fixtures.ts";
import fc from "../property.ts";
import { HOSTILE, hostile, isPolluted } from "./values.ts";

afterEach(() => expect(isPolluted()).toBe(false));

const KEYS = [
  ...new Set([
    ...configSchema().fields.map(({ key }) => key),
    ...Object.keys(parseBaseConfig({})),
    ...Object.keys(parseClaudeConfig({})),
    "resources.requests.cpu",
    "resources.limits.memory",
    "enableDocker",
    "dockerCpuLimit",
    "dockerMemoryLimit",
    "extraArgs",
    "__proto__",
    "constructor",
    "toString",
  ]),
];

/** Parsed, or refused with an error that names the key. Nothing else. */
function parse(raw: Record<string, unknown>): unknown {
  try {
    return parseClaudeConfig(raw);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    const { key, expected, message } = error as ConfigError;
    expect(
      Object.keys(raw).some((each) => key === each || key.startsWith(`${each}.`) || key.startsWith(`${each}[`)),
    ).toBe(true);
    expect(expected).not.toBe("");
    // It ends up in a log and a database.
    expect(message.length).toBeLessThan(12_000);
    return null;
  }
}

describe("configuration", () => {
  test.each(KEYS)("%s", (key) => {
    for (const value of HOSTILE) parse({ [key]: value });
    fc.assert(
      fc.property(hostile(), (value) => {
        parse({ [key]: value });
      }),
      { numRuns: 50 },
    );
  });

  test("several at once; what is accepted makes a Job that JSON can carry", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...KEYS), hostile(), { maxKeys: 6 }), (raw) => {
        if (parse(raw) === null) return;
        const { job } = buildManifest(manifestInput({ raw }));
        expect(JSON.parse(JSON.stringify(job))).toHaveProperty("kind", "Job");
      }),
      { numRuns: 500 },
    );
  });

  test("never an object of texts with a prototype that is not its own", () => {
    for (const key of ["env", "labels", "nodeSelector"]) {
      const config = parse({ [key]: JSON.parse('{"__proto__": "x", "constructor": "y"}') }) as Record<
        string,
        object
      > | null;
      if (config === null) continue;
      expect([Object.prototype, null]).toContain(Object.getPrototypeOf(config[key]));
    }
  });
});

describe("ids and paths", () => {
  const text = () =>
    fc.oneof(
      fc.constantFrom(...HOSTILE.filter((each): each is string => typeof each === "string")),
      fc.string({ unit: "binary", maxLength: 300 }),
    );

  test("whatever they hold, names and labels are ones that the API server takes", () => {
    fc.assert(
      fc.property(text(), text(), text(), text(), (agentId, runId, name, taskId) => {
        const ctx = contextOf({
          runId,
          agent: { ...contextOf().agent, id: agentId, name, companyId: taskId },
          context: { taskId, paperclipWorkspace: { cwd: taskId } },
        });
        const { job, secret } = buildManifest(manifestInput({ ctx, sessionId: name }));
        // The hash at the end makes a name valid even if nothing is left of the ids.
        expect(job.metadata.name).toMatch(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);
        for (const value of Object.values(job.metadata.labels)) {
          expect(value).toMatch(/^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/);
        }
        for (const key of Object.keys(secret?.data ?? {})) expect(key).toMatch(/^[-._a-zA-Z0-9]{1,253}$/);
      }),
      { numRuns: 300 },
    );
  });
});
