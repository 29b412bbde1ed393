/** Servers, and proxies before them, that speak lists and watches only in part: over the wire, with the real client. */
import { type Http2ServerResponse, constants as http2 } from "node:http2";
import { constants, createGzip } from "node:zlib";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { PODS } from "../../../src/engine/engine-caches.ts";
import { Informer, type InformerOptions } from "../../../src/engine/informer/informer.ts";
import type { Pod } from "../../../src/engine/kubernetes.ts";
import { Cluster } from "../../../src/engine/transport/index.ts";
import { holdTimeouts, status } from "../engine/harness.ts";
import { startApiServer, status as statusBody } from "../transport/api-server.ts";

interface Asked {
  /** `performance.now()` */
  at: number;
  kind: "streaming list" | "watch" | "list";
  query: URLSearchParams;
}

type Answer = (response: Http2ServerResponse, asked: Asked, server: ScriptedServer) => void;

/** An API server with pods `a` and `b` that answers each kind of request as it is told to. */
class ScriptedServer {
  readonly asked: Asked[] = [];
  readonly #beganAt = performance.now();
  answers: Record<Asked["kind"], Answer>;

  constructor(answers: Partial<Record<Asked["kind"], Answer>>) {
    this.answers = {
      "streaming list": (response) => sendStatus(response, 422, "Invalid"),
      watch: (response) => sendFrames(response, []),
      list: (response) => sendList(response, [pod("a"), pod("b")]),
      ...answers,
    };
  }

  answer(url: string, response: Http2ServerResponse): void {
    const query = new URL(url, "https://server").searchParams;
    const kind = query.get("watch") !== "true" ? "list" : query.has("sendInitialEvents") ? "streaming list" : "watch";
    const asked: Asked = { at: performance.now(), kind, query };
    this.asked.push(asked);
    this.answers[kind](response, asked, this);
  }

  count(kind: Asked["kind"]): number {
    return this.asked.filter((each) => each.kind === kind).length;
  }

  /** Further pages of a list are not counted. Counted from the beginning, since a request may be long on its way. */
  isAskedOncePerSecond(kind: Asked["kind"]): boolean {
    const begun = this.asked.filter((each) => each.kind === kind && !each.query.has("continue"));
    // A timer may fire a millisecond early.
    return begun.every(({ at }, index) => at - this.#beganAt >= 990 * index);
  }
}

function pod(name: string, resourceVersion = "5") {
  return { kind: "Pod", metadata: { name, namespace: "ns", uid: `uid-${name}`, resourceVersion } };
}

const added = (name: string, resourceVersion?: string) => ({ type: "ADDED", object: pod(name, resourceVersion) });
const bookmark = (resourceVersion: string, isListEnd = false) => ({
  type: "BOOKMARK",
  object: {
    kind: "Pod",
    metadata: { resourceVersion, ...(isListEnd ? { annotations: { "k8s.io/initial-events-end": "true" } } : {}) },
  },
});
const expired = { type: "ERROR", object: statusBody(410, "Expired") };
const lines = (frames: readonly unknown[]) => frames.map((frame) => `${JSON.stringify(frame)}\n`).join("");

function sendFrames(response: Http2ServerResponse, frames: readonly unknown[], end = false): void {
  response.writeHead(200, { "content-type": "application/json" });
  response.write(lines(frames));
  if (end) response.end();
}

function sendList(response: Http2ServerResponse, items: unknown, indent?: number): void {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify({ kind: "PodList", metadata: { resourceVersion: "9" }, items }, null, indent));
}

function sendStatus(response: Http2ServerResponse, code: number, reason: string): void {
  sendJson(response, statusBody(code, reason), code);
}

function sendJson(response: Http2ServerResponse, body: unknown, code = 200): void {
  response.writeHead(code, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

function sendHtml(response: Http2ServerResponse, code: number): void {
  response.writeHead(code, { "content-type": "text/html" });
  response.end("<html><title>Sorry</title></html>");
}

async function start(
  answers: Partial<Record<Asked["kind"], Answer>>,
  options: Partial<InformerOptions<Pod>> = {},
  onFinished = onTestFinished,
): Promise<{ scripted: ScriptedServer; informer: Informer<Pod> }> {
  const scripted = new ScriptedServer(answers);
  const server = await startApiServer((request, response) => scripted.answer(request.url, response));
  const cluster = new Cluster({ kubeConfig: server.kubeConfig() });
  const informer = new Informer<Pod>({
    cluster,
    resource: PODS,
    namespaces: ["ns"],
    labelSelector: "a=b",
    backoff: { baseMs: 20, maxMs: 100, minIntervalMs: 20 },
    ...options,
  });
  onFinished(async () => {
    await informer.stop();
    await cluster.close();
    await server.close();
  });
  informer.start();
  return { scripted, informer };
}

const names = (informer: Informer<Pod>) => informer.list().map(({ metadata }) => metadata.name);

describe("a streaming list", () => {
  it.each<[string, number, Answer]>([
    ["has objects and never its end", 2, (response) => sendFrames(response, [added("a"), added("b")])],
    ["is a watch from now on", 0, (response) => sendFrames(response, [])],
    [
      "is a watch that goes on after its objects",
      4,
      (response) => {
        const change = { type: "MODIFIED", object: pod("a") };
        sendFrames(response, [added("a"), added("b"), change]);
        const timer = setInterval(() => response.write(lines([change, added("c")])), 20);
        response.once("close", () => clearInterval(timer));
      },
    ],
    ["is never answered", 0, () => undefined],
  ])("that %s: when its time is over, the list comes page by page", async (_, frames, answer) => {
    const passTime = holdTimeouts();
    const { scripted, informer } = await start({ "streaming list": answer }, { progressTimeoutMs: 3_000 });
    await expect.poll(() => scripted.count("streaming list")).toBe(1);
    await expect.poll(() => informer.stats().frames).toBeGreaterThanOrEqual(frames);
    passTime(3_000);
    await expectPages(scripted, informer);
  });

  it.each<[string, Answer]>([
    ["ends after its objects", (response) => sendFrames(response, [added("a"), added("b")], true)],
    ["has an end without a version", (response) => sendFrames(response, [added("a"), added("b"), bookmark("", true)])],
    [
      "has a bookmark without the annotation",
      (response) => sendFrames(response, [added("a"), added("b"), bookmark("9")]),
    ],
    ["is a list in one line", (response) => sendList(response, [pod("a"), pod("b")])],
    ["is a list in many lines", (response) => sendList(response, [pod("a"), pod("b")], 2)],
  ])("that %s: the list comes page by page", async (_, answer) => {
    const { scripted, informer } = await start({ "streaming list": answer });
    await expectPages(scripted, informer);
  });

  async function expectPages(scripted: ScriptedServer, informer: Informer<Pod>): Promise<void> {
    await informer.whenSynced(AbortSignal.timeout(30_000));
    expect(names(informer)).toEqual(["a", "b"]);
    await status(informer, () => informer.freshness().connected);
    expect(scripted.asked.slice(0, 3).map(({ kind }) => kind)).toEqual(["streaming list", "list", "watch"]);
  }

  it.each<[string, Answer]>([
    ["with 500", (response) => sendStatus(response, 500, "InternalError")],
    ["with 403 by a firewall", (response) => sendHtml(response, 403)],
    ["with 404 by a router", (response) => sendHtml(response, 404)],
    ["with 504 by a proxy that waits for its end", (response) => sendHtml(response, 504)],
    ["with a page and 200", (response) => sendHtml(response, 200)],
    ["with a reset", (response) => response.stream.close(http2.NGHTTP2_INTERNAL_ERROR)],
    ["with 410 as a frame", (response) => sendFrames(response, [expired], true)],
    ["with a Status after 200", (response) => sendJson(response, statusBody(500, "InternalError"))],
  ])("that is refused %s, again and again: the list comes page by page", async (_, answer) => {
    const { scripted, informer } = await start({ "streaming list": answer });
    await status(informer, () => informer.freshness().connected);
    expect(names(informer)).toEqual(["a", "b"]);
    expect(scripted.count("streaming list")).toBeLessThanOrEqual(4);
    expect(scripted.count("list")).toBe(1);
  });

  it.each([405, 501])("that is refused with %i: the list comes page by page, at once", async (code) => {
    const { scripted, informer } = await start({ "streaming list": (response) => sendHtml(response, code) });
    await informer.whenSynced(AbortSignal.timeout(30_000));
    expect(scripted.count("streaming list")).toBe(1);
  });

  it("that is a Status after 200 is told in its words", async () => {
    const { informer } = await start({
      "streaming list": (response) =>
        sendJson(response, { ...statusBody(500, "InternalError"), message: "no watches" }),
      list: (response) => sendJson(response, { ...statusBody(503, "ServiceUnavailable"), message: "no lists" }),
    });
    const said: string[] = [];
    informer.onWatch(({ error }) => void said.push(error?.message ?? ""));
    await status(informer, () => said.some((words) => words.endsWith("503 ServiceUnavailable: no lists")));
    expect(said[0]).toMatch(/500 InternalError: no watches$/);
  });

  it.each<[string, Answer]>([
    [
      "two bookmarks that end it",
      (response) => sendFrames(response, [added("a"), added("b"), bookmark("9", true), bookmark("8", true)]),
    ],
    [
      "a content type with parameters",
      (response) => {
        response.writeHead(200, { "content-type": "Application/JSON; charset=utf-8;stream=watch" });
        response.write(lines([added("a"), added("b"), bookmark("9", true)]));
      },
    ],
    [
      "no content type",
      (response) => {
        response.writeHead(200, {});
        response.write(lines([added("a"), added("b"), bookmark("9", true)]));
      },
    ],
    [
      "empty lines, and carriage returns",
      (response) => {
        response.writeHead(200, { "content-type": "application/json" });
        response.write(`\r\n${lines([added("a"), added("b"), bookmark("9", true)]).replaceAll("\n", "\r\n\r\n")}`);
      },
    ],
    [
      "gzip, though nobody asked for it",
      (response) => {
        response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" });
        const gzip = createGzip({ flush: constants.Z_SYNC_FLUSH });
        gzip.pipe(response);
        gzip.write(lines([added("a"), added("b"), bookmark("9", true)]));
      },
    ],
  ])("with %s is a list like others", async (_, answer) => {
    const { scripted, informer } = await start({ "streaming list": answer });
    await informer.whenSynced(AbortSignal.timeout(30_000));
    expect(names(informer)).toEqual(["a", "b"]);
    expect(informer.told("ns")).toMatchObject({ version: "9" });
    expect(scripted.asked.map(({ kind }) => kind)).toEqual(["streaming list"]);
    expect(informer.stats().errors).toBe(0);
  });

  it("that is as slow as it likes is waited for as long as its objects come", async () => {
    const passTime = holdTimeouts();
    const asked = Promise.withResolvers<Http2ServerResponse>();
    const { scripted, informer } = await start({ "streaming list": asked.resolve }, { progressTimeoutMs: 400 });
    const response = await asked.promise;
    sendFrames(response, []);
    for (let sent = 1; sent < 8; sent += 1) {
      response.write(lines([added(`pod-${sent}`)]));
      await expect.poll(() => informer.stats().frames).toBe(sent);
      passTime(300);
    }
    response.write(lines([bookmark("9", true)]));
    await informer.whenSynced();
    expect(informer.size).toBe(7);
    expect(scripted.asked).toHaveLength(1);
  });
});

describe("a paged list", () => {
  it('with "items": null is an empty list', async () => {
    const { informer } = await start({ list: (response) => sendList(response, null) });
    await informer.whenSynced(AbortSignal.timeout(30_000));
    expect(informer.size).toBe(0);
    expect(informer.stats().errors).toBe(0);
  });

  it("without items is none: nothing is taken for deleted", async () => {
    const { scripted, informer } = await start({
      watch: (response) => sendStatus(response, 410, "Expired"),
      list: (response, _, server) =>
        server.count("list") === 1 ? sendList(response, [pod("a")]) : sendList(response, undefined),
    });
    await informer.whenSynced(AbortSignal.timeout(30_000));
    await status(informer, () => scripted.count("list") >= 3);
    expect(informer.freshness().error?.message).toMatch(/answer to GET .*\/pods is not a list/);
    expect(names(informer)).toEqual(["a"]);
  });

  it("whose continue token never changes is asked for with growing delays, and said to be none", async () => {
    const { scripted, informer } = await start(
      { list: (response) => sendPage(response, [pod("a")], "same") },
      { pageSize: 1, backoff: {} },
    );
    const giveUp = new AbortController();
    const synced = expect(informer.whenSynced(giveUp.signal)).rejects.toThrow(
      /pods could not be listed from .*has the continue token that was asked for \(given up/,
    );
    await status(informer, () => scripted.count("list") >= 7);
    giveUp.abort(new Error("enough"));
    await synced;
    expect(scripted.isAskedOncePerSecond("list")).toBe(true);
  });

  it("of which a page fails goes on with that page", async () => {
    const failed: string[] = [];
    const { scripted, informer } = await start(
      {
        list: (response, { query }) => {
          const token = query.get("continue");
          if (token === null) return sendPage(response, [pod("a")], "one");
          if (token === "one") return sendPage(response, [pod("b")], "two");
          if (failed.push(token) < 3) return sendStatus(response, 503, "ServiceUnavailable");
          sendPage(response, [pod("c")]);
        },
      },
      { pageSize: 1 },
    );
    await informer.whenSynced(AbortSignal.timeout(30_000));
    expect(names(informer)).toEqual(["a", "b", "c"]);
    expect(failed).toEqual(["two", "two", "two"]);
    expect(scripted.count("list")).toBe(5);
  });
});

describe("with the default delays", () => {
  it.concurrent.for<[string, Answer]>([
    ["a frame and ends", (response) => sendFrames(response, [{ type: "MODIFIED", object: pod("a") }], true)],
    ["nothing and ends", (response) => sendFrames(response, [], true)],
    [
      "garbage",
      (response) => {
        response.writeHead(200, { "content-type": "application/json" });
        response.end("{]\n");
      },
    ],
    ["a refusal", (response) => sendStatus(response, 500, "InternalError")],
  ])("a watch that yields %s, again and again, is opened once a second at most", async ([, answer], context) => {
    const { scripted, informer } = await start({ watch: answer }, { backoff: {} }, context.onTestFinished);
    await informer.whenSynced(AbortSignal.timeout(30_000));
    await status(informer, () => scripted.count("watch") >= 4);
    expect(scripted.isAskedOncePerSecond("watch")).toBe(true);
  });

  it.concurrent("a 410 after each first frame is no reason to list more than once a second", async (context) => {
    const { scripted, informer } = await start(
      { watch: (response) => sendFrames(response, [{ type: "MODIFIED", object: pod("a") }, expired], true) },
      { backoff: {} },
      context.onTestFinished,
    );
    await informer.whenSynced(AbortSignal.timeout(30_000));
    await status(informer, () => scripted.count("list") >= 4);
    expect(scripted.isAskedOncePerSecond("list")).toBe(true);
  });
});

describe("a server that sends no bookmarks", () => {
  /** The first three watches are silent for too long: each when all that was sent on it has come. */
  async function fallSilent(scripted: ScriptedServer, informer: Informer<Pod>, bookmarks: number): Promise<void> {
    for (let watches = 1; watches < 4; watches += 1) {
      await status(informer, () => informer.freshness().connected && scripted.count("watch") === watches);
      await expect.poll(() => informer.stats().bookmarks).toBe(bookmarks);
      passTime(1_500);
    }
    await status(informer, () => scripted.count("watch") === 4);
  }
  let passTime: ReturnType<typeof holdTimeouts>;
  beforeEach(() => {
    passTime = holdTimeouts();
  });

  it("is watched again when it is silent, is not listed again, and has no problem", async () => {
    const { scripted, informer } = await start({}, { progressTimeoutMs: 1_500 });
    const errors: Error[] = [];
    informer.onWatch(({ error }) => {
      if (error !== null) errors.push(error);
    });
    await fallSilent(scripted, informer, 0);
    expect(scripted.count("list")).toBe(1);
    expect(errors).toEqual([]);
  });

  it("is listed again where bookmarks came before, once", async () => {
    const { scripted, informer } = await start(
      { watch: (response, _, server) => sendFrames(response, server.count("watch") === 1 ? [bookmark("10")] : []) },
      { progressTimeoutMs: 1_500 },
    );
    await fallSilent(scripted, informer, 1);
    expect(scripted.count("list")).toBe(2);
    expect(scripted.asked.map(({ kind }) => kind).lastIndexOf("list")).toBeLessThan(6);
  });
});

function sendPage(response: Http2ServerResponse, items: unknown[], token?: string): void {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify({ metadata: { resourceVersion: "9", continue: token }, items }));
}
