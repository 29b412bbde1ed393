import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EmbeddedKubernetes, type EmbeddedKubernetesOptions } from "../../../src/embedded/index.ts";
import { Client, type Frame, type Watch } from "./http-client.ts";

const PATH = "/api/v1/namespaces/ex/configmaps";

describe("watch", () => {
  let k8s: EmbeddedKubernetes;
  let client: Client;

  async function start(options: EmbeddedKubernetesOptions = {}): Promise<void> {
    k8s = await EmbeddedKubernetes.start({ namespaces: ["ex", "other"], ...options });
    client = new Client(k8s);
  }
  beforeEach(() => start());
  afterEach(async () => {
    client.close();
    await k8s.stop();
  });

  function create(name: string, labels: Record<string, string> = {}, namespace = "ex") {
    return k8s.objects.create("configmaps", { metadata: { name, namespace, labels } });
  }
  function label(name: string, labels: Record<string, string>): void {
    k8s.objects.update("configmaps", "ex", name, (draft) => {
      draft.metadata.labels = labels;
    });
  }
  const version = () => k8s.objects.resourceVersion;
  const brief = ({ type, object }: Frame) => `${type} ${object.metadata.name}`;
  /** All that they told, for the end comes behind it. */
  async function toldUntilCut(...watches: Watch[]): Promise<string[][]> {
    expect(k8s.faults.cutWatches()).toBe(watches.length);
    return Promise.all(watches.map(async (watch) => (await watch.rest()).map(brief)));
  }

  it("without a version starts with what is there, then tells what happens", async () => {
    create("a");
    const watch = await client.watch(`${PATH}?watch=1`);
    expect(watch.headers["content-type"]).toBe("application/json");
    expect(brief((await watch.next()) as Frame)).toBe("ADDED a");
    create("b");
    label("a", { x: "1" });
    k8s.objects.delete("configmaps", "ex", "b");
    const frames = [await watch.next(), await watch.next(), await watch.next()] as Frame[];
    expect(frames.map(brief)).toEqual(["ADDED b", "MODIFIED a", "DELETED b"]);
    expect(Number(frames[2]?.object.metadata.resourceVersion)).toBe(version());
  });

  it("from a version tells exactly what came after it", async () => {
    create("a");
    const from = version();
    create("b");
    create("c", {}, "other");
    create("d");
    const watch = await client.watch(`${PATH}?watch=1&resourceVersion=${from}&timeoutSeconds=1`);
    expect((await watch.rest()).map(brief)).toEqual(["ADDED b", "ADDED d"]);
  });

  it("over all namespaces tells of all", async () => {
    const watch = await client.watch(`/api/v1/configmaps?watch=1&resourceVersion=${version()}`);
    create("a");
    create("b", {}, "other");
    expect(brief((await watch.next()) as Frame)).toBe("ADDED a");
    expect(brief((await watch.next()) as Frame)).toBe("ADDED b");
  });

  it("a label selector turns a change into an addition or a deletion", async () => {
    create("a", { app: "no" });
    const watch = await client.watch(`${PATH}?watch=1&resourceVersion=${version()}&labelSelector=app%3Dyes`);
    label("a", { app: "yes" });
    label("a", { app: "yes", more: "1" });
    label("a", { app: "no" });
    const leaving = version();
    label("a", { app: "yes" });
    const frames: Frame[] = [];
    for (let i = 0; i < 4; i++) frames.push((await watch.next()) as Frame);
    expect(frames.map(brief)).toEqual(["ADDED a", "MODIFIED a", "DELETED a", "ADDED a"]);
    // The deletion shows the last state that matched, with the version of the change.
    expect(frames[2]?.object.metadata.labels).toEqual({ app: "yes", more: "1" });
    expect(frames[2]?.object.metadata.resourceVersion).toBe(String(leaving));
  });

  it("a field selector holds for the state of each moment", async () => {
    const pods = "/api/v1/namespaces/ex/pods";
    const watch = await client.watch(
      `${pods}?watch=1&fieldSelector=status.phase%3DRunning&resourceVersion=${version()}`,
    );
    k8s.addProgram("*", async function* (container) {
      yield "";
      await container.sleep(60_000, { interruptible: true });
    });
    k8s.objects.create("pods", {
      metadata: { name: "p", namespace: "ex" },
      spec: { containers: [{ name: "c", image: "i:1" }] },
    });
    const frame = (await watch.next()) as Frame;
    expect(brief(frame)).toBe("ADDED p");
    expect(frame.object.status.phase).toBe("Running");
  });

  it("streaming list: the objects, then the bookmark that ends them, then what happens", async () => {
    create("a");
    create("b");
    const at = version();
    const query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    const watch = await client.watch(`${PATH}?${query}`);
    create("c");
    const frames: Frame[] = [];
    for (let i = 0; i < 4; i++) frames.push((await watch.next()) as Frame);
    expect(frames.map(({ type }) => type)).toEqual(["ADDED", "ADDED", "BOOKMARK", "ADDED"]);
    expect(frames[2]?.object).toEqual({
      kind: "ConfigMap",
      apiVersion: "v1",
      metadata: { resourceVersion: String(at), annotations: { "k8s.io/initial-events-end": "true" } },
    });
  });

  it("bookmarks of Jobs and pods are nearly empty objects, as recorded", async () => {
    const query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    const pods = await (await client.watch(`/api/v1/namespaces/ex/pods?${query}`)).next();
    const jobs = await (await client.watch(`/apis/batch/v1/namespaces/ex/jobs?${query}`)).next();
    const metadata = { resourceVersion: String(version()), annotations: { "k8s.io/initial-events-end": "true" } };
    expect(JSON.stringify(pods?.object)).toBe(
      JSON.stringify({ kind: "Pod", apiVersion: "v1", metadata, spec: { containers: null }, status: {} }),
    );
    expect(JSON.stringify(jobs?.object)).toBe(
      JSON.stringify({
        kind: "Job",
        apiVersion: "batch/v1",
        metadata,
        spec: { template: { metadata: {}, spec: { containers: null } } },
        status: {},
      }),
    );
  });

  it("streaming list is refused by a server that does not know it", async () => {
    k8s.settings.streamingList = false;
    const query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    const { json } = await client.call({ path: `${PATH}?${query}` });
    expect(json).toMatchObject({ code: 422, details: { causes: [{ field: "sendInitialEvents" }] } });
  });

  it("bookmarks come about once a minute, with the newest version, to those who asked", async () => {
    client.close();
    await k8s.stop();
    await start({ timeScale: 0 });
    const query = `watch=1&resourceVersion=${version()}&timeoutSeconds=150`;
    const asked = await client.watch(`${PATH}?${query}&allowWatchBookmarks=true`);
    const notAsked = await client.watch(`${PATH}?${query}`);
    create("other", {}, "other");
    await k8s.clock.advance(150_000);
    const bookmarks = await asked.rest();
    // At 60 s, at 120 s, and 2 s before the end.
    expect(bookmarks.map(({ type }) => type)).toEqual(["BOOKMARK", "BOOKMARK", "BOOKMARK"]);
    expect(bookmarks[0]?.object.metadata.resourceVersion).toBe(String(version()));
    expect(await notAsked.rest()).toEqual([]);
  });

  it("a version whose history was dropped is answered with an ERROR frame, and a clean end", async () => {
    const from = version();
    create("a");
    k8s.faults.expireVersions();
    const watch = await client.watch(`${PATH}?watch=1&resourceVersion=${from}`);
    expect(watch.status).toBe(200);
    const [frame, ...more] = await watch.rest();
    expect(frame).toMatchObject({ type: "ERROR", object: { code: 410, reason: "Expired" } });
    expect(more).toEqual([]);
  });

  it("history is bounded: the oldest changes are forgotten first", async () => {
    client.close();
    await k8s.stop();
    await start({ watchHistory: { maxEvents: 8 } });
    create("a");
    const old = version();
    for (let i = 0; i < 20; i++) label("a", { i: String(i) });
    const recent = version() - 4;
    const gone = await client.watch(`${PATH}?watch=1&resourceVersion=${old}&timeoutSeconds=1`);
    expect((await gone.next())?.type).toBe("ERROR");
    const kept = await client.watch(`${PATH}?watch=1&resourceVersion=${recent}&timeoutSeconds=1`);
    expect(await kept.rest()).toHaveLength(4);
  });

  it("a version of the future stays silent until it has passed", async () => {
    const watch = await client.watch(`${PATH}?watch=1&resourceVersion=${version() + 2}`);
    create("a");
    create("b");
    create("c");
    expect(await toldUntilCut(watch)).toEqual([["ADDED c"]]);
  });

  it("every watcher gets every change once and in order, however many there are", async () => {
    const from = version();
    const watches = await Promise.all(
      Array.from({ length: 60 }, () => client.watch(`${PATH}?watch=1&resourceVersion=${from}`)),
    );
    for (let i = 0; i < 200; i++) create(`n${i}`);
    const expected = Array.from({ length: 200 }, (_, i) => `ADDED n${i}`);
    for (const told of await toldUntilCut(...watches)) expect(told).toEqual(expected);
  });

  it("a client that does not read is cut off, and disturbs nobody else", async () => {
    k8s.settings.maxPendingEvents = 50;
    const path = `${PATH}?watch=1&resourceVersion=${version()}`;
    // Each on a connection of its own: streams of one connection share its flow-control window.
    const other = new Client(k8s);
    const slow = await other.stream({ path });
    slow.body.pause();
    const quick = await client.watch(path);
    const data = { big: "x".repeat(50_000) };
    for (let i = 0; i < 200; i++) {
      k8s.objects.create("configmaps", { metadata: { name: `big${i}`, namespace: "ex" }, data });
      expect(brief((await quick.next()) as Frame)).toBe(`ADDED big${i}`);
    }
    // What the slow one has got ends cleanly, long before the last change.
    let bytes = 0;
    for await (const chunk of slow.body) bytes += (chunk as Buffer).length;
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThan(150 * 50_000);
    await expect.poll(() => k8s.openWatches).toBe(1);
    other.close();
  });

  it("is forgotten when the client goes", async () => {
    const watch = await client.watch(`${PATH}?watch=1`);
    expect(k8s.openWatches).toBe(1);
    watch.close();
    await expect.poll(() => k8s.openWatches).toBe(0);
  });

  it("of one name watches this name", async () => {
    create("a");
    create("b");
    const watch = await client.watch(`${PATH}/a?watch=1&resourceVersion=${version()}`);
    label("b", { x: "1" });
    label("a", { x: "1" });
    expect(await toldUntilCut(watch)).toEqual([["MODIFIED a"]]);
  });
});
