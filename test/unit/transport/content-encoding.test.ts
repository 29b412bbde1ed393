/** Proxies that compress answers, though nobody asked them to. */
import { constants, createGzip, gzipSync } from "node:zlib";
import { describe, expect, it, onTestFinished } from "vitest";
import { ApiError, Cluster } from "../../../src/engine/transport/index.ts";
import { type Handler, startApiServer } from "./api-server.ts";

const HEADERS = { "content-type": "application/json", "content-encoding": "gzip" };

async function start(handler: Handler, http1Only: boolean): Promise<{ cluster: Cluster; asked: () => number }> {
  const server = await startApiServer(handler, { http1Only });
  const cluster = new Cluster({ kubeConfig: server.kubeConfig(), retry: { maxAttempts: 2, baseMs: 1 } });
  onTestFinished(async () => {
    await cluster.close();
    await server.close();
  });
  return { cluster, asked: () => server.requests.length };
}

describe.each([
  ["HTTP/2", false],
  ["HTTP/1.1", true],
])("gzip over %s", (_, http1Only) => {
  it("is read, of an answer and of an error", async () => {
    const { cluster } = await start((request, response) => {
      const isFound = request.url.endsWith("/found");
      response.writeHead(isFound ? 200 : 404, HEADERS);
      const error = { kind: "Status", status: "Failure", code: 404, reason: "NotFound", message: "no such thing" };
      response.end(gzipSync(JSON.stringify(isFound ? { is: "there" } : error)));
    }, http1Only);
    expect(await cluster.json({ path: "/found" })).toEqual({ is: "there" });
    await expect(cluster.json({ path: "/lost" })).rejects.toThrow(/404 NotFound: no such thing/);
    await expect(cluster.open({ path: "/lost" })).rejects.toThrow(/404 NotFound: no such thing/);
  });

  it("of a stream is passed on as it is flushed, and its end closes the request", async () => {
    const closed = Promise.withResolvers<void>();
    const { cluster } = await start((_request, response) => {
      response.writeHead(200, HEADERS);
      response.once("close", () => closed.resolve());
      const gzip = createGzip({ flush: constants.Z_SYNC_FLUSH });
      gzip.pipe(response);
      gzip.write("a line\n");
    }, http1Only);
    const { body } = await cluster.open({ path: "/log" });
    for await (const chunk of body) {
      expect(String(chunk)).toBe("a line\n");
      break;
    }
    await closed.promise;
  });

  it("that is cut short is asked for again, then said to be", async () => {
    const { cluster, asked } = await start((_request, response) => {
      response.writeHead(200, HEADERS);
      const whole = gzipSync(JSON.stringify({ is: "there" }));
      response.end(whole.subarray(0, whole.length - 12));
    }, http1Only);
    const error: unknown = await cluster.json({ path: "/cut" }).catch((each: unknown) => each);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ reason: "TruncatedAnswer", status: 200 });
    expect((error as Error).message).toMatch(/GET \/cut: 200 TruncatedAnswer: its gzip is broken/);
    expect(asked()).toBe(2);
  });

  it("does not hide the signal's reason", async () => {
    const { cluster } = await start((_request, response) => {
      response.writeHead(200, HEADERS);
      response.write(gzipSync("begin").subarray(0, 12));
    }, http1Only);
    const abort = new AbortController();
    const { body } = await cluster.open({ path: "/log", signal: abort.signal });
    const read = body.toArray();
    abort.abort(new Error("enough"));
    await expect(read).rejects.toThrow("enough");
  });
});
