import { once } from "node:events";
import { createServer } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EmbeddedKubernetes, type EmbeddedKubernetesOptions } from "../../../src/embedded/index.ts";
import { Client, job, secret, untilReset } from "./http-client.ts";

const PATH = "/api/v1/namespaces/ex/configmaps";
const ASKED = "allowWatchBookmarks=true";
const SECRETS = "/api/v1/namespaces/ex/secrets";

describe("faults", () => {
  let k8s: EmbeddedKubernetes;
  let client: Client;

  async function start(options: EmbeddedKubernetesOptions = {}): Promise<void> {
    k8s = await EmbeddedKubernetes.start({ namespaces: ["ex"], timeScale: 10, delays: "fast", ...options });
    client = new Client(k8s);
  }
  async function stop(): Promise<void> {
    client.close();
    await k8s.stop();
  }
  /** With a `timeScale` of 0 its time stands still until the test moves it. */
  async function restart(options: EmbeddedKubernetesOptions): Promise<void> {
    await stop();
    await start(options);
  }
  beforeEach(() => start());
  afterEach(stop);

  const create = (name: string) => k8s.objects.create("configmaps", { metadata: { name, namespace: "ex" } });
  const watch = () => client.watch(`${PATH}?watch=1&resourceVersion=${k8s.objects.resourceVersion}`);

  describe("watches", () => {
    it("are cut with a clean end", async () => {
      const open = await watch();
      expect(k8s.faults.cutWatches()).toBe(1);
      expect(await open.next()).toBeUndefined();
    });

    it("are cut with a reset", async () => {
      const open = await watch();
      expect(k8s.faults.cutWatches({ how: "reset" })).toBe(1);
      await expect(open.next()).rejects.toThrow(/INTERNAL_ERROR/);
    });

    it("are cut by what they watch", async () => {
      const configs = await watch();
      const pods = await client.watch("/api/v1/namespaces/ex/pods?watch=1");
      expect(k8s.faults.cutWatches({ match: { resource: "pods" } })).toBe(1);
      expect(await pods.next()).toBeUndefined();
      create("a");
      expect((await configs.next())?.object.metadata.name).toBe("a");
    });

    it("are cut again and again until the fault is removed", async () => {
      const fault = k8s.faults.cutWatchesEvery(500);
      for (let i = 0; i < 3; i++) expect(await (await watch()).next()).toBeUndefined();
      fault.remove();
      const open = await watch();
      await k8s.clock.sleep(2_000);
      create("a");
      expect((await open.next())?.type).toBe("ADDED");
    });

    it("are stalled: nothing arrives, nothing breaks, and nothing is lost after the release", async () => {
      const open = await watch();
      const stall = k8s.faults.stallWatches();
      create("a");
      const late = client.watch(`${PATH}?watch=1&resourceVersion=${k8s.objects.resourceVersion}`);
      const first = open.next();
      const winner = await Promise.race([first, late, k8s.clock.sleep(3_000).then(() => "silence")]);
      expect(winner).toBe("silence");
      // Everybody else is answered.
      expect((await client.call({ path: PATH })).status).toBe(200);
      stall.release();
      expect((await first)?.object.metadata.name).toBe("a");
      expect((await late).status).toBe(200);
    });

    it.each([
      ["end", undefined],
      ["reset", /INTERNAL_ERROR/],
      ["unavailable", 503],
    ] as const)(
      "are closed by %s for a time, and what changed meanwhile is replayed afterwards",
      async (how, expected) => {
        const open = await watch();
        const from = k8s.objects.resourceVersion;
        const closed = k8s.faults.closeWatches(undefined, { how, match: { resource: "configmaps" } });
        await (how === "reset" ? expect(open.next()).rejects.toThrow() : expect(open.next()).resolves.toBeUndefined());
        create("a");
        k8s.objects.delete("configmaps", "ex", "a");
        const again = client.watch(`${PATH}?watch=1&resourceVersion=${from}`);
        if (expected === undefined) expect(await (await again).next()).toBeUndefined();
        else if (expected === 503) expect((await again).status).toBe(503);
        else await expect(again).rejects.toThrow(expected);
        expect(closed.hits).toBe(1);
        closed.release();
        const replayed = await client.watch(`${PATH}?watch=1&resourceVersion=${from}`);
        expect([(await replayed.next())?.type, (await replayed.next())?.type]).toEqual(["ADDED", "DELETED"]);
      },
    );

    it("send no bookmarks", async () => {
      await restart({ timeScale: 0 });
      const withheld = k8s.faults.withholdBookmarks();
      const open = await client.watch(`${PATH}?watch=1&${ASKED}&resourceVersion=${k8s.objects.resourceVersion}`);
      await k8s.clock.advance(120_000);
      expect(withheld.hits).toBe(2);
      create("a");
      expect((await open.next())?.type).toBe("ADDED");
      withheld.remove();
      await k8s.clock.advance(60_000);
      expect((await open.next())?.type).toBe("BOOKMARK");
    });

    it("end a streaming list with a bookmark that does not say so", async () => {
      create("a");
      const unmarked = k8s.faults.delayListEnd(0, { unmarked: true });
      const open = await client.watch(
        `${PATH}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&${ASKED}`,
      );
      expect((await open.next())?.type).toBe("ADDED");
      const bookmark = await open.next();
      expect(bookmark).toMatchObject({ type: "BOOKMARK" });
      expect(bookmark?.object.metadata.annotations).toBeUndefined();
      expect(unmarked.hits).toBe(1);
    });

    it("are stalled for a time", async () => {
      const open = await watch();
      const before = k8s.clock.now();
      k8s.faults.stallWatches(2_000);
      create("a");
      await open.next();
      expect(k8s.clock.now() - before).toBeGreaterThanOrEqual(2_000);
    });

    it("send a line that is no JSON, and go on", async () => {
      const open = await watch();
      k8s.faults.nextWatch({ kind: "garbage" });
      create("a");
      const line = (await open.nextLine()) ?? "";
      expect(() => JSON.parse(line)).toThrow();
      expect((await open.next())?.type).toBe("ADDED");
    });

    it("send half a frame, and end", async () => {
      const open = await watch();
      k8s.faults.nextWatch({ kind: "truncated" });
      create("a");
      const line = (await open.nextLine()) ?? "";
      expect(line).toMatch(/^\{"type":"ADDED"/);
      expect(() => JSON.parse(line)).toThrow();
      expect(await open.nextLine()).toBeUndefined();
    });

    it("send a huge object", async () => {
      const open = await watch();
      k8s.faults.nextWatch({ kind: "huge", bytes: 2_000_000 });
      create("a");
      const frame = await open.next();
      expect(frame?.object.metadata.name).toBe("a");
      expect(JSON.stringify(frame).length).toBeGreaterThan(1_999_000);
    });

    it("send an error in the stream", async () => {
      k8s.faults.nextWatch({ kind: "error", code: 500, reason: "InternalError", message: "etcd" });
      const open = await watch();
      expect(await open.next()).toMatchObject({ type: "ERROR", object: { code: 500, message: "etcd" } });
      expect(await open.next()).toBeUndefined();
    });

    it("end a streaming list late: what changes meanwhile comes before its end, and no other bookmark does", async () => {
      await restart({ timeScale: 0 });
      create("a");
      create("b");
      const list = () =>
        client.watch(`${PATH}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&${ASKED}`);
      const frames = async (open: Awaited<ReturnType<typeof list>>, count: number) => {
        const told: string[] = [];
        for (let i = 0; i < count; i++) {
          const { type, object } = (await open.next()) ?? {};
          const isEnd = object?.metadata.annotations?.["k8s.io/initial-events-end"] === "true";
          told.push(`${type} ${isEnd ? object?.metadata.resourceVersion : object?.metadata.name}`);
        }
        return told;
      };
      const late = k8s.faults.delayListEnd();
      const held = await list();
      expect(await frames(held, 2)).toEqual(["ADDED a", "ADDED b"]);
      k8s.objects.delete("configmaps", "ex", "a");
      create("c");
      // Longer than a bookmark takes.
      await k8s.clock.advance(70_000);
      late.release();
      expect(await frames(held, 3)).toEqual(["DELETED a", "ADDED c", `BOOKMARK ${k8s.objects.resourceVersion}`]);
      // Only once, and by itself.
      k8s.faults.delayListEnd(2_000, { count: 1 });
      const open = await list();
      await k8s.clock.advance(1_999);
      create("d");
      expect(await frames(open, 3)).toEqual(["ADDED b", "ADDED c", "ADDED d"]);
      await k8s.clock.advance(1);
      expect(await frames(open, 1)).toEqual([`BOOKMARK ${k8s.objects.resourceVersion}`]);
      k8s.faults.clear();
      expect((await frames(await list(), 4)).at(-1)).toMatch(/^BOOKMARK/);
    });

    it("are answered with a page of HTML, once", async () => {
      k8s.faults.htmlInsteadOfWatch();
      const page = await client.call({ path: `${PATH}?watch=1` });
      expect(page.status).toBe(200);
      expect(page.headers["content-type"]).toMatch("text/html");
      expect((await watch()).headers["content-type"]).toBe("application/json");
    });
  });

  describe("requests", () => {
    it("fail at a rate, by verb and resource, repeatably by seed", async () => {
      const outcomes = async () => {
        const fault = k8s.faults.errorRate({
          rate: 0.5,
          status: 429,
          retryAfterSeconds: 7,
          match: { verb: "list", resource: "configmaps" },
        });
        const statuses: number[] = [];
        for (let i = 0; i < 40; i++) {
          const answer = await client.call({ path: PATH });
          if (answer.status === 429) {
            expect(answer.headers["retry-after"]).toBe("7");
            expect(answer.json).toMatchObject({ reason: "TooManyRequests", details: { retryAfterSeconds: 7 } });
          }
          statuses.push(answer.status);
        }
        expect((await client.call({ path: SECRETS })).status).toBe(200);
        fault.remove();
        expect((await client.call({ path: PATH })).status).toBe(200);
        return statuses;
      };
      const first = await outcomes();
      expect(first.filter((status) => status === 429).length).toBeGreaterThan(8);
      expect(first.filter((status) => status === 200).length).toBeGreaterThan(8);
      await restart({});
      expect(await outcomes()).toEqual(first);
    });

    it("that fail are not acted on, and a count ends the fault", async () => {
      k8s.faults.errorRate({ status: 503, count: 1, match: { verb: "create" } });
      expect((await client.call({ method: "POST", path: SECRETS, body: secret("a") })).status).toBe(503);
      expect(k8s.objects.get("secrets", "ex", "a")).toBeUndefined();
      expect((await client.call({ method: "POST", path: SECRETS, body: secret("a") })).status).toBe(201);
    });

    it("get no answer but a reset", async () => {
      k8s.faults.resetRequests({ count: 1 });
      await expect(client.call({ path: PATH })).rejects.toThrow();
      expect((await client.call({ path: PATH })).status).toBe(200);
    });

    it("are acted on, and their answer is lost", async () => {
      const lost = k8s.faults.loseAnswers({ match: { verb: "create", resource: "secrets" }, count: 1 });
      await expect(client.call({ method: "POST", path: SECRETS, body: secret("lost") })).rejects.toThrow();
      expect(lost.hits).toBe(1);
      expect(k8s.objects.get("secrets", "ex", "lost")).toBeDefined();
      const again = await client.call({ method: "POST", path: SECRETS, body: secret("lost") });
      expect(again.json).toMatchObject({ code: 409, reason: "AlreadyExists" });
      expect(lost.hits).toBe(1);
    });

    it("are acted on, and their answer is lost over HTTP/1.1 as well", async () => {
      k8s.faults.loseAnswers({ match: { verb: "create" }, count: 1 });
      await expect(client.call1({ method: "POST", path: SECRETS, body: secret("lost") })).rejects.toThrow();
      expect(k8s.objects.get("secrets", "ex", "lost")).toBeDefined();
    });

    it("are refused by a quota whose status others changed meanwhile; nothing is stored", async () => {
      const conflicts = k8s.faults.quotaConflicts({ quota: "q", count: 1 });
      const refused = await client.call({ method: "POST", path: SECRETS, body: secret("a") });
      expect(refused.json).toMatchObject({
        code: 409,
        reason: "Conflict",
        details: { name: "q", kind: "resourcequotas" },
        message:
          'Operation cannot be fulfilled on resourcequotas "q": the object has been modified; please apply your changes to the latest version and try again',
      });
      expect(k8s.objects.get("secrets", "ex", "a")).toBeUndefined();
      expect((await client.call({ method: "POST", path: SECRETS, body: secret("a") })).status).toBe(201);
      expect(conflicts.hits).toBe(1);
    });

    it("beyond a client's seats and their queue are refused with 429, and not acted on", async () => {
      await restart({ timeScale: 0 });
      const limit = k8s.faults.limitSeats({ seats: 1, queued: 1, workMs: 1_000, match: { verb: "create" } });
      const names = ["a", "b", "c"];
      const answered = Promise.all(
        names.map((name) => client.call({ method: "POST", path: SECRETS, body: secret(name) })),
      );
      await expect.poll(() => limit.hits).toBe(1);
      await k8s.clock.advance(2_000);
      const answers = await answered;
      expect(answers.map(({ status }) => status).sort()).toEqual([201, 201, 429]);
      const at = answers.findIndex(({ status }) => status === 429);
      expect(answers[at]?.headers["retry-after"]).toBe("1");
      expect(answers[at]?.text).toBe("Too many requests, please try again later.\n");
      expect([...limit.refusals]).toEqual([[`create secrets/${names[at]}`, 1]]);
      expect(k8s.objects.get("secrets", "ex", names[at] ?? "")).toBeUndefined();
      expect((await client.call({ path: SECRETS })).status).toBe(200);
      limit.remove();
      expect((await client.call({ method: "POST", path: SECRETS, body: secret(names[at] ?? "") })).status).toBe(201);
      expect(limit.hits).toBe(1);
      expect(() => k8s.faults.limitSeats({ seats: 0 })).toThrow(
        "limitSeats: seats must be a number of at least 1, got 0",
      );
    });

    it("of an empty list are answered with items that are null", async () => {
      const nulls = k8s.faults.nullItems();
      expect((await client.call({ path: PATH })).json).toMatchObject({ kind: "ConfigMapList", items: null });
      create("a");
      expect((await client.call({ path: PATH })).json.items).toHaveLength(1);
      expect(nulls.hits).toBe(1);
    });

    it("are delayed", async () => {
      k8s.faults.delayRequests(3_000, { count: 1 });
      const before = k8s.clock.now();
      await client.call({ path: PATH });
      expect(k8s.clock.now() - before).toBeGreaterThanOrEqual(3_000);
    });

    it("are delayed until they are released, and those that come then are not", async () => {
      const fault = k8s.faults.delayRequests(Number.POSITIVE_INFINITY);
      const held = client.call({ path: PATH });
      await expect.poll(() => fault.hits).toBe(1);
      fault.release();
      expect((await held).status).toBe(200);
      expect((await client.call({ path: PATH })).status).toBe(200);
      expect(fault.hits).toBe(1);
    });

    it.each([
      ["dropped, once its client has gone", false],
      ["acted on though its client has gone, where that is asked for", true],
    ])("that are delayed are %s", async (_, outlivesClient) => {
      await restart({ timeScale: 0 });
      k8s.objects.create("secrets", { metadata: { name: "s", namespace: "ex" } });
      const fault = k8s.faults.delayRequests(10_000, { match: { verb: "delete" }, outlivesClient });
      const gone = new Client(k8s);
      const sent = gone.call({ method: "DELETE", path: `${SECRETS}/s` }).catch((error) => error);
      await expect.poll(() => fault.hits).toBe(1);
      gone.close();
      expect(await sent).toBeInstanceOf(Error);
      await expect.poll(() => k8s.requests.connectionsOpen).toBe(0);
      await k8s.clock.advance(10_000);
      expect((await client.call({ path: `${SECRETS}/s` })).status).toBe(outlivesClient ? 404 : 200);
    });

    it("are answered a few bytes at a time", async () => {
      create("slow");
      const whole = await client.call({ path: `${PATH}/slow` });
      k8s.faults.slowBytes({ bytes: 50, everyMs: 200, count: 1 });
      const before = k8s.clock.now();
      const answer = await client.call({ path: `${PATH}/slow` });
      expect(answer.json).toEqual(whole.json);
      const pauses = Math.ceil(whole.text.length / 50) - 1;
      expect(k8s.clock.now() - before).toBeGreaterThanOrEqual(pauses * 200);
    });

    it("a rate that is none is refused", () => {
      expect(() => k8s.faults.errorRate({ rate: 5 })).toThrow(/between 0 and 1, got 5/);
    });
  });

  describe("connections", () => {
    it("are reset", async () => {
      const open = await watch();
      const ended = open.next().catch((error: Error) => error);
      expect(k8s.faults.resetConnections()).toBe(1);
      expect(await ended).toBeInstanceOf(Error);
      await expect.poll(() => k8s.requests.connectionsOpen).toBe(0);
    });

    it("get a GOAWAY: open streams go on, new requests go elsewhere", async () => {
      const open = await watch();
      const session = client.session();
      const goaway = new Promise((resolve) => session.once("goaway", resolve));
      k8s.faults.goAway();
      await goaway;
      create("a");
      expect((await open.next())?.object.metadata.name).toBe("a");
      expect((await client.call({ path: PATH })).status).toBe(200);
      expect(k8s.requests.connectionsOpened).toBe(2);
    });

    it("are frozen: no answer, no ping, nothing breaks, and all goes on afterwards", async () => {
      const open = await watch();
      const session = client.session();
      const freeze = k8s.faults.freeze();
      create("a");
      let pinged = false;
      session.ping(() => {
        pinged = true;
      });
      const answer = client.call({ path: PATH });
      const frame = open.next();
      const winner = await Promise.race([answer, frame, k8s.clock.sleep(3_000).then(() => "silence")]);
      expect(winner).toBe("silence");
      expect(pinged).toBe(false);
      freeze.release();
      expect((await frame)?.object.metadata.name).toBe("a");
      expect((await answer).status).toBe(200);
      await expect.poll(() => pinged).toBe(true);
    });

    it("cannot be opened while the server is frozen", async () => {
      const freeze = k8s.faults.freeze();
      const other = new Client(k8s);
      const answer = other.call({ path: PATH });
      const winner = await Promise.race([answer, k8s.clock.sleep(2_000).then(() => "silence")]);
      expect(winner).toBe("silence");
      freeze.release();
      expect((await answer).status).toBe(200);
      other.close();
    });
  });

  describe("restart", () => {
    it("kill: connections reset, the same port and the same state afterwards", async () => {
      create("a");
      const { url } = k8s;
      const from = k8s.objects.resourceVersion;
      const open = await watch();
      const ended = open.next().catch((error: Error) => error);
      const restarted = k8s.restart({ downMs: 2_000 });
      // It connects before anything else happens: later, the server may listen again.
      await expect(new Client(k8s).call({ path: PATH })).rejects.toThrow(/ECONNREFUSED/);
      expect(await ended).toBeInstanceOf(Error);
      create("meanwhile");
      await restarted;
      expect(k8s.url).toBe(url);
      expect((await client.call({ path: `${PATH}/a` })).status).toBe(200);
      const resumed = await client.watch(`${PATH}?watch=1&resourceVersion=${from}`);
      expect((await resumed.next())?.object.metadata.name).toBe("meanwhile");
    });

    it("that ends when a promise resolves", async () => {
      const { promise: until, resolve } = Promise.withResolvers<void>();
      const restarted = k8s.restart({ until });
      const other = new Client(k8s);
      await expect(other.call({ path: PATH })).rejects.toThrow(/ECONNREFUSED/);
      resolve();
      await restarted;
      expect((await client.call({ path: PATH })).status).toBe(200);
    });

    it("waits for its port, which somebody else was given meanwhile", async () => {
      const port = Number(new URL(k8s.url).port);
      const restarted = k8s.restart({ downMs: 10 });
      const other = createServer().listen(port, "127.0.0.1");
      await once(other, "listening");
      const isBack = await Promise.race([restarted.then(() => true), k8s.clock.sleep(2_000).then(() => false)]);
      expect(isBack).toBe(false);
      other.close();
      await restarted;
      expect((await client.call({ path: PATH })).status).toBe(200);
    });

    it("with expired versions: a watch from before is answered with 410", async () => {
      const from = k8s.objects.resourceVersion;
      create("a");
      await k8s.restart({ downMs: 10, expireVersions: true });
      const open = await client.watch(`${PATH}?watch=1&resourceVersion=${from}`);
      expect(await open.next()).toMatchObject({ type: "ERROR", object: { code: 410 } });
    });

    it("graceful: new connections are refused at once, open watches end cleanly after the drain", async () => {
      const open = await watch();
      const restarted = k8s.restart({ mode: "graceful", drainMs: 3_000, downMs: 10 });
      const other = new Client(k8s);
      const refused = expect(other.call({ path: PATH })).rejects.toThrow(/ECONNREFUSED/);
      create("a");
      await refused;
      expect((await open.next())?.object.metadata.name).toBe("a");
      expect(await open.next()).toBeUndefined();
      await restarted;
      expect((await client.call({ path: PATH })).status).toBe(200);
    });

    it("a Job that was running goes on, and ends", async () => {
      k8s.addProgram("claude", async function* (container) {
        yield "start";
        await container.sleep(3_000);
        return 0;
      });
      await client.call({ method: "POST", path: "/apis/batch/v1/namespaces/ex/jobs", body: job("j") });
      await k8s.objects.until(() =>
        k8s.objects.list("pods", "ex").find(({ status }) => (status as { phase?: string }).phase === "Running"),
      );
      await k8s.restart({ downMs: 5_000 });
      await k8s.objects.until(
        () => (k8s.objects.get("jobs", "ex", "j")?.status as { succeeded?: number } | undefined)?.succeeded === 1,
      );
    });
  });

  describe("logs", () => {
    const LINES = Array.from({ length: 40 }, (_, i) => `line ${i} äöü €`);

    async function runningPod(): Promise<string> {
      k8s.addProgram("claude", async function* (container) {
        for (const line of LINES) yield line;
        await container.sleep(1e9, { interruptible: true });
      });
      await client.call({ method: "POST", path: "/apis/batch/v1/namespaces/ex/jobs", body: job("j") });
      const pod = await k8s.objects.until(() =>
        k8s.objects.list("pods", "ex").find(({ status }) => (status as { phase?: string }).phase === "Running"),
      );
      return `/api/v1/namespaces/ex/pods/${pod.metadata.name}/log`;
    }
    const WHOLE = Buffer.from(`${LINES.join("\n")}\n`);

    it("are cut at a byte, with a clean end, also within a character", async () => {
      const path = await runningPod();
      const inCharacter = WHOLE.indexOf("€") + 1;
      for (const atByte of [1, inCharacter, inCharacter + 1, 200]) {
        k8s.faults.cutLogs({ atByte, count: 1 });
        const { body } = await client.stream({ path: `${path}?follow=true` });
        const chunks: Buffer[] = [];
        for await (const chunk of body) chunks.push(chunk as Buffer);
        expect(Buffer.concat(chunks).equals(WHOLE.subarray(0, atByte))).toBe(true);
      }
    });

    it("are cut with a reset, after the bytes have gone", async () => {
      const path = await runningPod();
      k8s.faults.cutLogs({ atByte: 300, how: "reset", count: 1 });
      const { body } = await client.stream({ path: `${path}?follow=true` });
      let bytes = 0;
      const read = (async () => {
        for await (const chunk of untilReset(body)) bytes += chunk.length;
      })();
      await expect(read).rejects.toThrow();
      expect(bytes).toBe(300);
    });

    it("open ones are cut", async () => {
      const path = await runningPod();
      const { body } = await client.stream({ path: `${path}?follow=true` });
      const ended = (async () => {
        let text = "";
        for await (const chunk of body.setEncoding("utf8")) {
          text += chunk;
          if (text.endsWith(`${LINES.at(-1)}\n`)) expect(k8s.faults.cutOpenLogs()).toBe(1);
        }
        return text;
      })();
      expect(await ended).toBe(WHOLE.toString());
    });

    it("a clean end is none for a read that does not follow: it would be the end of the log", async () => {
      const path = await runningPod();
      k8s.faults.slowBytes({ bytes: 300, everyMs: 10, count: 1 });
      const { body } = await client.stream({ path });
      let text = "";
      for await (const chunk of body.setEncoding("utf8")) {
        if (text === "") expect(k8s.faults.cutOpenLogs({ how: "end" })).toBe(0);
        text += chunk;
      }
      expect(text).toBe(WHOLE.toString());
    });

    it.each([
      ["unreachable", 500, /connection refused/],
      ["notFound", 404, /could not find the requested resource/],
      ["waiting", 400, /waiting to start: ContainerCreating/],
    ] as const)("%s: %i", async (kind, status, message) => {
      const path = await runningPod();
      k8s.faults.failLogs({ kind, count: 1 });
      const failed = await client.call({ path });
      expect(failed.json).toMatchObject({ kind: "Status", code: status, message: expect.stringMatching(message) });
      expect((await client.call({ path })).text).toBe(WHOLE.toString());
    });

    it("a slow reader costs a bounded amount of memory, and gets everything", async () => {
      const block = "x".repeat(1023);
      k8s.addProgram("chatty", async function* () {
        for (let i = 0; i < 9_000; i++) yield block;
      });
      k8s.objects.create("pods", {
        metadata: { name: "chatty", namespace: "ex" },
        spec: { containers: [{ name: "chatty", image: "i:1" }], restartPolicy: "Never" },
      });
      const phase = () => (k8s.objects.get("pods", "ex", "chatty")?.status as { phase?: string } | undefined)?.phase;
      await k8s.objects.until(() => phase() === "Succeeded");
      const { body } = await client.stream({ path: "/api/v1/namespaces/ex/pods/chatty/log" });
      await k8s.clock.sleep(2_000);
      expect(k8s.requests.bytesSent).toBeLessThan(2_000_000);
      let bytes = 0;
      for await (const chunk of body) bytes += (chunk as Buffer).length;
      expect(bytes).toBe(9_000 * 1024);
    });
  });

  it("clear ends them all", async () => {
    k8s.faults.errorRate();
    k8s.faults.stallWatches();
    k8s.faults.slowBytes({ bytes: 1, everyMs: 10_000 });
    k8s.faults.clear();
    expect((await client.call({ path: PATH })).status).toBe(200);
    const open = await watch();
    create("a");
    expect((await open.next())?.type).toBe("ADDED");
  });
});
