import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { withoutSecrets } from "../../../src/cli/record.ts";
import { replay } from "../../../src/cli/replay.ts";

const trace = (name: string) =>
  readFileSync(new URL(`../../fixtures/traces/kubernetes-1.36/${name}.jsonl`, import.meta.url), "utf8");

describe("replay", () => {
  it("prints per Job what was known and when", () => {
    expect(replay(trace("deadline"), "claude")).toEqual([
      {
        job: "deadline",
        ready: { ms: 1842 },
        startFailure: null,
        terminated: { kind: "deadline", exitCode: 137, reason: "DeadlineExceeded", ms: 7439 },
        podChanges: 0,
      },
    ]);
    expect(replay(trace("bad-config"), "claude")).toEqual([
      {
        job: "bad-config",
        ready: null,
        startFailure: {
          code: "container_config",
          reason: "CreateContainerConfigError",
          message: 'secret "missing-secret" not found',
          ms: 31_795,
        },
        terminated: { kind: "start_failed", exitCode: null, reason: "CreateContainerConfigError", ms: 31_795 },
        podChanges: 0,
      },
    ]);
  });

  it("keeps several Jobs of one recording apart, in the order they were first seen", () => {
    const lines = [...trace("succeeds").trim().split("\n"), ...trace("fails").trim().split("\n")];
    lines.sort((a, b) => JSON.parse(a).ms - JSON.parse(b).ms);
    const runs = replay(lines.join("\n"), "claude");
    expect(runs.map((run) => [run.job, run.terminated?.kind, run.terminated?.ms])).toEqual([
      ["succeeds", "succeeded", 6153],
      ["fails", "failed", 4163],
    ]);
  });

  it("has no verdict on a run that the recording leaves", () => {
    const frames = trace("succeeds").trim().split("\n").slice(0, 9).join("\n");
    expect(replay(frames, "claude")).toMatchObject([{ ready: { ms: 3392 }, terminated: null }]);
  });

  it("names the line that is not a frame", () => {
    expect(() => replay('{"ms":1,"resource":"pods","type":"BOOKMARK","object":{}}\n{"ms":', "claude")).toThrow(
      /line 2 is not JSON/,
    );
    expect(() => replay('{"ms":1,"resource":"nodes","type":"ADDED"}', "claude")).toThrow(
      /line 1 is not a frame .*nodes/,
    );
    expect(() => replay('{"ms":1,"resource":"pods","type":"ADDED","object":{}}', "claude")).toThrow(
      /line 1 is a pod without/,
    );
  });
});

describe("a recording whose watches are recorded", () => {
  const frames = trace("unschedulable").trim().split("\n");
  const open = ["jobs", "pods"].map((watch) => JSON.stringify({ ms: 0, resource: "watch", watch, type: "open" }));
  const lostAt = (ms: number) => JSON.stringify({ ms, resource: "watch", watch: "pods", type: "lost" });
  const later = JSON.stringify({ ms: 900_000, resource: "pods", type: "BOOKMARK", object: {} });
  /** The pod waits for a node until the recording ends. */
  const waiting = frames.filter((line) => JSON.parse(line).ms < 60_000);

  it("gives the verdict at the same moment as one without, if they were open", () => {
    const without = replay([...waiting, later].join("\n"), "claude");
    expect(without[0]?.startFailure?.code).toBe("unschedulable");
    expect(replay([...open, ...waiting, later].join("\n"), "claude")).toEqual(without);
  });

  it("gives none while a watch is lost: what ends the wait may be waiting on the server", () => {
    expect(replay([...open, ...waiting, lostAt(60_000), later].join("\n"), "claude")[0]?.terminated).toBeNull();
  });

  it("names the containers that there are, where none has the name that is asked for", () => {
    expect(() => replay(trace("native-sidecar"), "nope")).toThrow(/a container nope; there are: /);
    expect(() => replay(trace("native-sidecar"), "nope")).toThrow(/claude/);
  });
});

describe("a recording", () => {
  it("leaves out values of environment variables and manifests in annotations", () => {
    const pod = {
      metadata: { annotations: { "kubectl.kubernetes.io/last-applied-configuration": "canary", kept: "yes" } },
      spec: {
        containers: [
          {
            name: "c",
            env: [
              { name: "A", value: "canary" },
              { name: "B", valueFrom: { secretKeyRef: { name: "s" } } },
            ],
          },
        ],
      },
    };
    expect(JSON.stringify(withoutSecrets(pod))).not.toContain("canary");
    expect(withoutSecrets(pod)).toMatchObject({
      metadata: { annotations: { kept: "yes" } },
      spec: { containers: [{ env: [{ name: "A" }, { name: "B", valueFrom: { secretKeyRef: { name: "s" } } }] }] },
    });
  });
});
