/** The package as it is published: packed, installed by the server itself, and replaced by a newer version while an agent works. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ADAPTER, init, PACKAGE, PaperclipWorld, report, resulted } from "./world.ts";

let world: PaperclipWorld;

beforeAll(async () => {
  world = await PaperclipWorld.start();
});
afterAll(async () => {
  await world?.stop();
});

/** @returns the tarball, readable for the server's user */
function pack(folder: string): string {
  const packed = execFileSync("npm", ["pack", "--silent", "--pack-destination", world.directory], { cwd: folder });
  const file = join(world.directory, packed.toString().trim());
  chmodSync(file, 0o644);
  return file;
}

const install = (file: string) =>
  world.server.api("POST", "/adapters/install", { packageName: "k8s-run-informer", version: `file:${file}` });

/** By a word of its form one sees which version answers. */
async function firstLabel(): Promise<string | undefined> {
  const schema = await world.server.api<{ fields: { label: string }[] }>("GET", `/adapters/${ADAPTER}/config-schema`);
  return schema.fields[0]?.label;
}

const LABEL = "When another run of this agent is active";

/** The same package, with another version and another word in its form. */
function nextVersion(file: string): string {
  const folder = join(world.directory, "next");
  mkdirSync(folder);
  execFileSync("tar", ["xzf", file, "-C", folder]);
  const change = (path: string, from: string, to: string) => {
    const text = readFileSync(path, "utf8");
    expect(text).toContain(from);
    writeFileSync(path, text.replace(from, to));
  };
  const { version } = JSON.parse(readFileSync(join(folder, "package/package.json"), "utf8")) as { version: string };
  change(join(folder, "package/package.json"), `"version": "${version}"`, '"version": "99.0.0"');
  change(join(folder, "package/dist/index.js"), LABEL, "In version 99");
  return pack(join(folder, "package"));
}

test("a tarball is live once it is installed; a newer one once it is reloaded, and a run goes on meanwhile", async () => {
  const file = pack(PACKAGE);
  await install(file);
  expect(await firstLabel()).toBe(LABEL);
  const mayFinish = Promise.withResolvers<void>();
  world.programs.set("Long", async function* ({ env }) {
    yield init;
    await mayFinish.promise;
    await report(env, { status: "done", comment: "Outlived a version." });
    yield resulted("Outlived a version.");
    return 0;
  });
  const agent = await world.agent("Ada");
  const long = await world.issue("Long work", agent);
  await world.untilPrinted(agent, init);

  await install(nextVersion(file));
  expect(await firstLabel()).toBe(LABEL);
  await world.server.api("POST", `/adapters/${ADAPTER}/reload`, {});
  expect(await firstLabel()).toBe("In version 99");

  mayFinish.resolve();
  await world.untilStatus(long, "done");
  const run = await world.untilEnded(agent, 1);
  expect(run.status).toBe("succeeded");
  expect(await world.log(run)).toContain("Outlived a version.");
  await world.untilStatus(await world.issue("Done twice", agent), "done");
  expect((await world.untilEnded(agent, 2)).status).toBe("succeeded");
});
