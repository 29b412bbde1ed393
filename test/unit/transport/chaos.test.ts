import type { Http2ServerResponse, ServerHttp2Session } from "node:http2";
import { afterEach, expect, test } from "vitest";
import { ApiError, Cluster } from "../../../src/engine/transport/index.ts";
import { type ApiServer, sendJson, startApiServer } from "./api-server.ts";

const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const pick = <T>(values: Iterable<T>): T | undefined => {
  const all = [...values];
  return all[Math.floor(Math.random() * all.length)];
};

/** What servers, proxies and networks do to connections. Each says whether it hit one. */
const DISTURBANCES: Record<string, (server: ApiServer, held: Set<Http2ServerResponse>) => boolean> = {
  "socket destroyed": ({ sockets }) => {
    const socket = pick(sockets);
    socket?.destroy();
    return socket !== undefined;
  },
  GOAWAY: ({ sessions }) => goAway(pick(sessions), 0),
  "GOAWAY with an error": ({ sessions }) => goAway(pick(sessions), 11),
  "session destroyed": ({ sessions }) => {
    const session = pick(sessions);
    session?.destroy();
    return session !== undefined;
  },
  "stream reset": (_server, held) => {
    const stream = pick(held)?.stream;
    stream?.close(pick([0, 1, 2, 7, 8, 11]));
    return stream != null;
  },
  "answer ended": (_server, held) => {
    const response = pick(held);
    response?.end();
    return response !== undefined;
  },
};

function goAway(session: ServerHttp2Session | undefined, code: number): boolean {
  if (session === undefined || session.destroyed) return false;
  session.goaway(code);
  return true;
}

const OF_HTTP1 = ["answer ended", "socket destroyed"];

// vitest fails the run for any uncaught exception or unhandled rejection: that is half of what is tested here.
test.each([
  ["HTTP/2", false, 60],
  // Fewer, since each stream costs a TLS handshake.
  ["HTTP/1.1", true, 10],
])(
  "resets, GOAWAYs, aborts and readers that leave, over %s: every request ends, with an ApiError or the abort's reason",
  async (_, http1Only, streams) => {
    const held = new Set<Http2ServerResponse>();
    const server = await startApiServer(
      (request, response) => {
        if (!request.url.includes("watch")) {
          if (Math.random() < 0.9) sendJson(response, Math.random() < 0.9 ? 200 : 503, { ok: true });
          return;
        }
        response.write("x".repeat(Math.floor(Math.random() * 100_000)));
        held.add(response);
        response.once("close", () => held.delete(response));
      },
      { http1Only, maxConcurrentStreams: 20 },
    );
    cleanups.push(() => server.close());
    const cluster = new Cluster({
      kubeConfig: server.kubeConfig(),
      retry: { baseMs: 1 },
      pingIntervalMs: 500,
      pingTimeoutMs: 500,
    });
    cleanups.push(() => cluster.close());

    const aborted = new Error("aborted by the test");
    const endings = new Map<string, number>();
    const note = (ending: string) => endings.set(ending, (endings.get(ending) ?? 0) + 1);
    const ended = (error: unknown) =>
      note(error instanceof ApiError ? error.reason : error === aborted ? "aborted" : String(error));
    const hits = new Set<string>();
    const expectedHits = http1Only ? OF_HTTP1 : Object.keys(DISTURBANCES).sort();
    const count = (ending: string) => endings.get(ending) ?? 0;
    // Three seconds, and on a busy machine until enough has happened.
    const soonest = performance.now() + 3_000;
    const isEnough = () =>
      performance.now() > soonest &&
      count("answered") > 20 &&
      count("ConnectionReset") > 5 &&
      expectedHits.every((name) => hits.has(name));
    const latest = performance.now() + 120_000;
    const goesOn = () => !isEnough() && performance.now() < latest;

    const stream = async () => {
      while (goesOn()) {
        const abort = new AbortController();
        const timer = setTimeout(() => abort.abort(aborted), Math.random() * 500);
        try {
          const { body } = await cluster.open({ path: "/api/v1/pods", query: { watch: true }, signal: abort.signal });
          for await (const _ of body) if (Math.random() < 0.05) break;
          note("read");
        } catch (error) {
          ended(error);
        }
        clearTimeout(timer);
      }
    };
    const oneShot = async () => {
      while (goesOn()) {
        const abort = new AbortController();
        const timer = Math.random() < 0.2 ? setTimeout(() => abort.abort(aborted), Math.random() * 20) : undefined;
        await cluster
          .json({ path: "/api/v1/pods", signal: abort.signal, timeoutMs: 500 })
          .then(() => note("answered"), ended);
        clearTimeout(timer);
      }
    };
    const timer = setInterval(() => {
      const name = pick(Object.keys(DISTURBANCES)) ?? "";
      if (DISTURBANCES[name]?.(server, held)) hits.add(name);
    }, 10);
    cleanups.push(() => clearInterval(timer));
    await Promise.all([...Array.from({ length: streams }, stream), ...Array.from({ length: 10 }, oneShot)]);
    clearInterval(timer);

    // ConnectionLost: when both sides wait for the other to read, Node hears of nothing until a ping is not answered.
    const expected = [
      "read",
      "answered",
      "aborted",
      "ConnectionReset",
      "ConnectionLost",
      "Timeout",
      "ServiceUnavailable",
    ];
    expect([...endings.keys()].filter((ending) => !expected.includes(ending))).toEqual([]);
    expect(count("answered")).toBeGreaterThan(20);
    expect(count("ConnectionReset")).toBeGreaterThan(5);
    expect([...hits].sort()).toEqual(expectedHits);
    // And it is as good as new.
    while (held.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
    let status = 0;
    // Connections of which nobody has heard that they are broken are found one by one.
    for (let tries = 0; status !== 200 && tries < 100; tries += 1) {
      status = await cluster.open({ path: "/api/v1/pods", query: { watch: true } }).then(
        (stream) => stream.status,
        (error: ApiError) => expect(["ConnectionLost", "ConnectionReset"]).toContain(error.reason) ?? 0,
      );
    }
    expect(status).toBe(200);
    await cluster.close();
    expect(cluster.requests.snapshot().connectionsOpen).toBe(0);
  },
);
