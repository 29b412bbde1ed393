/** What a server has not ended is not whole, and what it has seen is not sent again. */
import type { Http2ServerResponse } from "node:http2";
import type { AddressInfo } from "node:net";
import tls, { type TLSSocket } from "node:tls";
import { afterEach, expect, test } from "vitest";
import { ApiError, Cluster } from "../../../src/engine/transport/index.ts";
import { base64, kubeConfigOf, serverCertificate, startApiServer } from "./api-server.ts";
import { http2Frame as frame } from "./http2-frame.ts";

const cleanups: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A server of HTTP/2 frames: `answer` is written for each request. */
async function startFrames(answer: (stream: number) => Buffer[]) {
  const { cert, key } = serverCertificate();
  const sockets = new Set<TLSSocket>();
  const server = tls.createServer({ cert, key, ALPNProtocols: ["h2"] }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.write(frame(SETTINGS, 0, 0));
    let held = Buffer.alloc(0);
    let at = 24;
    socket.on("data", (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= at + 9 && held.length >= at + 9 + held.readUIntBE(at, 3)) {
        const [type, flags, stream] = [held[at + 3], held[at + 4], held.readUInt32BE(at + 5)];
        at += 9 + held.readUIntBE(at, 3);
        if (type === SETTINGS && flags === 0) socket.write(frame(SETTINGS, 1, 0));
        if (type === HEADERS) for (const each of answer(stream)) socket.write(each);
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return kubeConfigOf({ server: `https://127.0.0.1:${port}`, "certificate-authority-data": base64(cert) }, {});
}
const [DATA, HEADERS, RST_STREAM, SETTINGS] = [0, 1, 3, 4];
/** `:status: 200` in HPACK's static table. */
const OK = Buffer.from([0x88]);

async function read(cluster: Cluster): Promise<string> {
  const { body } = await cluster.open({ path: "/x" });
  let text = "";
  for await (const chunk of body) text += chunk;
  return text;
}

test.each([0, 8])("RST_STREAM with code %i amid an answer", async (code) => {
  const kubeConfig = await startFrames((stream) => [
    frame(HEADERS, 4, stream, OK),
    frame(DATA, 0, stream, Buffer.from("half")),
    frame(RST_STREAM, 0, stream, Buffer.from([0, 0, 0, code])),
  ]);
  const cluster = new Cluster({ kubeConfig });
  cleanups.push(() => cluster.close());
  await expect(read(cluster)).rejects.toMatchObject({ name: "ApiError", reason: "ConnectionReset" });
});

test("RST_STREAM after a whole answer, with and without a body", async () => {
  const kubeConfig = await startFrames((stream) => [
    ...(stream % 4 === 1
      ? [frame(HEADERS, 4, stream, OK), frame(DATA, 1, stream, Buffer.from("whole"))]
      : [frame(HEADERS, 5, stream, OK)]),
    frame(RST_STREAM, 0, stream, Buffer.from([0, 0, 0, 0])),
  ]);
  const cluster = new Cluster({ kubeConfig });
  cleanups.push(() => cluster.close());
  expect(await read(cluster)).toBe("whole");
  expect(await read(cluster)).toBe("");
});

test("GOAWAY, and the connection closed amid an answer", async () => {
  const server = await startApiServer((_, response: Http2ServerResponse) => {
    response.write("half");
    response.stream.session?.goaway(0);
    setTimeout(() => {
      for (const socket of server.sockets) socket.destroy();
    }, 50);
  });
  cleanups.push(() => server.close());
  const cluster = new Cluster({ kubeConfig: server.kubeConfig() });
  cleanups.push(() => cluster.close());
  await expect(read(cluster)).rejects.toBeInstanceOf(ApiError);
});

test("a POST on a connection that ends with GOAWAY(REFUSED_STREAM) has been seen", async () => {
  let seen = 0;
  const server = await startApiServer((_, response: Http2ServerResponse) => {
    seen += 1;
    response.stream.session?.goaway(7, 2 ** 31 - 1);
  });
  cleanups.push(() => server.close());
  const cluster = new Cluster({ kubeConfig: server.kubeConfig(), retry: { baseMs: 1 } });
  cleanups.push(() => cluster.close());
  await expect(cluster.json({ method: "POST", path: "/x", body: {} })).rejects.toMatchObject({ sent: true });
  expect(seen).toBe(1);
});
