import { describe, expect, test } from "vitest";
import { isCredential, Redactor, secretsOf } from "../../../src/adapter/job/credentials.ts";
import { contextOf } from "./fixtures.ts";

test.each([
  ["ANTHROPIC_API_KEY", "x", true],
  ["GITHUB_TOKEN", "x", true],
  ["githubToken", "x", true],
  ["DB_PASSWORD", "x", true],
  ["AWS_SECRET_ACCESS_KEY", "x", true],
  ["DATABASE_URL", "x", true],
  ["GH_PAT", "x", true],
  ["NOTES", "sk-ant-0123", true],
  ["PROXY", "http://me:pw@proxy:3128", true],
  ["PROXY", "http://proxy:3128", false],
  ["PATH", "/usr/bin", false],
  ["KEYBOARD", "us", false],
  ["TOKENIZER", "bpe", false],
  ["AUTHOR", "Ada", false],
  ["PAPERCLIP_AGENT_ID", "a", false],
])("%s=%s is a credential: %s", (name, value, expected) => expect(isCredential(name, value)).toBe(expected));

describe("redaction", () => {
  test("of values that contain each other, in any depth, and of fields named like credentials", () => {
    const redactor = new Redactor();
    redactor.add("secret-value", "secret-value-longer", "short", null, undefined);
    expect(redactor.text("a secret-value-longer b secret-value c short")).toBe(
      "a ***REDACTED*** b ***REDACTED*** c short",
    );
    expect(
      redactor.value({ list: [{ text: "x secret-value" }], bearerToken: "unknown", count: 1, none: null }),
    ).toEqual({
      list: [{ text: "x ***REDACTED***" }],
      bearerToken: "***REDACTED***",
      count: 1,
      none: null,
    });
  });

  test("of a secret as it stands inside JSON", () => {
    const redactor = new Redactor();
    redactor.add('line\n"quoted" key');
    expect(redactor.text(JSON.stringify({ key: 'line\n"quoted" key' }))).toBe('{"key":"***REDACTED***"}');
  });

  test("does not fail on a value that contains itself", () => {
    const loop: Record<string, unknown> = {};
    loop.self = loop;
    expect(JSON.stringify(new Redactor().value(loop)).length).toBeLessThan(1_000);
  });
});

test("everything secret that the host hands to a run", () => {
  const ctx = contextOf({
    authToken: "jwt-1",
    runtimeMcp: { getServers: () => [{ name: "m", url: "u", token: "mcp-1", connectionId: "c" }] },
    agent: {
      ...contextOf().agent,
      adapterConfig: { env: { BOUND: { type: "secret_ref" }, PLAIN: { type: "plain", value: "p-1" }, TEXT: "p-2" } },
    },
  });
  const env = { BOUND: "b-1", PLAIN: "p-1", TEXT: "p-2", MY_TOKEN: "t-1", OF_PROJECT: "o-1" };
  expect(secretsOf(ctx, env).sort()).toEqual(["b-1", "jwt-1", "mcp-1", "o-1", "t-1"]);
  // A level above the agent's has another value for it.
  expect(secretsOf(ctx, { PLAIN: "o-2" })).toContain("o-2");
});
