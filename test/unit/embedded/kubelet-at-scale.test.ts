import { afterEach, expect, it } from "vitest";
import { Clock } from "../../../src/embedded/clock.ts";
import { Controllers } from "../../../src/embedded/controllers/controllers.ts";
import { StatusError } from "../../../src/embedded/objects/status-error.ts";
import { isTrue, jobOf, podOf } from "../../../src/embedded/objects/workloads.ts";
import { ObjectStore } from "../../../src/embedded/store/store.ts";

let clock: Clock;
let controllers: Controllers;
afterEach(() => {
  controllers.stop();
  clock.stop();
});

it.each([
  ["fast delays in real time", 1, "fast"],
  ["recorded delays at 20 times the speed", 20, "recorded"],
] as const)("300 Jobs at once all pass through every phase to Complete: %s", async (_name, scale, delays) => {
  clock = new Clock(scale);
  const store = new ObjectStore({ now: () => clock.now() });
  store.create("namespaces", { metadata: { name: "ns" } });
  controllers = new Controllers({
    store,
    clock,
    delays,
    programs: {
      main: async function* (container) {
        for (let line = 1; line <= 10; line++) {
          yield `${container.pod.name} ${line}`;
          await container.sleep(20 * scale);
        }
      },
    },
  });
  const phases = new Map<string, string[]>();
  let completed = 0;
  const all = new Promise<void>((resolve) => {
    store.subscribe(({ resource, object, previous }) => {
      if (resource === "pods") {
        const seen = phases.get(object.metadata.name) ?? [];
        const { phase = "" } = podOf(object).status;
        if (seen.at(-1) !== phase) phases.set(object.metadata.name, [...seen, phase]);
      } else if (resource === "jobs" && isTrue(jobOf(object).status?.conditions, "Complete")) {
        if (!isTrue(previous && jobOf(previous).status?.conditions, "Complete") && ++completed === 300) resolve();
      }
    });
  });
  for (let index = 0; index < 300; index++) {
    store.create("jobs", {
      metadata: { name: `job-${index}`, namespace: "ns" },
      spec: { template: { spec: { restartPolicy: "Never", containers: [{ name: "main", image: "a:1" }] } } },
    });
  }
  await all;
  expect(phases.size).toBe(300);
  for (const [name, seen] of phases) {
    expect(seen).toEqual(["Pending", "Running", "Succeeded"]);
    const log = controllers.logFor("ns", name, "main");
    if (log instanceof StatusError) throw log;
    expect((await log.text()).trim().split("\n")).toEqual(
      Array.from({ length: 10 }, (_, line) => `${name} ${line + 1}`),
    );
  }
});
