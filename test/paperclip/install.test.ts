/** The package as it is published: packed, installed by the server itself, in place of another version, and reloaded. */
import { execFileSync } from "node:child_process";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ADAPTER, PACKAGE, PaperclipWorld } from "./world.ts";

let world: PaperclipWorld;

beforeAll(async () => {
  world = await PaperclipWorld.start();
});
afterAll(async () => {
  await world?.stop();
});

test("a packed package installs from its file and runs an agent; a reload keeps it working", async () => {
  const packed = execFileSync("npm", ["pack", "--silent", "--pack-destination", world.directory], { cwd: PACKAGE });
  const file = join(world.directory, packed.toString().trim());
  chmodSync(file, 0o644);
  await world.server.api("POST", "/adapters/install", { packageName: "k8s-run-informer", version: `file:${file}` });
  const agent = await world.agent("Ada");
  const first = await world.issue("Done once", agent);
  await world.untilStatus(first, "done");
  await world.server.api("POST", `/adapters/${ADAPTER}/reload`, {});
  const second = await world.issue("Done twice", agent);
  await world.untilStatus(second, "done");
  expect((await world.runs(agent)).map(({ status }) => status)).toEqual(["succeeded", "succeeded"]);
});
