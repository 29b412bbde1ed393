/**
 * An HTTP/2 server that breaks any rule at any moment: each request ends in time, with what the server said, whole, or with an
 * ApiError; a POST that the server has seen is not sent again; and nothing of it reaches the process.
 */
import { constants, type Http2ServerResponse, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import tls, { type TLSSocket } from "node:tls";
import { expect, test } from "vitest";
import { ApiError, Cluster } from "../../../../src/engine/transport/index.ts";
import fc from "../../property.ts";
import { base64, kubeConfigOf, serverCertificate, startApiServer } from "../../transport/api-server.ts";
import { http2Frame as frame } from "../../transport/http2-frame.ts";
import { Dice, fuzz, fuzzTimeoutMs } from "./fuzz.ts";

const CODES = Array.from({ length: 14 }, (_, code) => code);
/** Node ends a stream well that it is told to close with NO_ERROR. */
const ERRORS = CODES.filter((code) => code !== constants.NGHTTP2_NO_ERROR);
/** Node's server would disclaim streams that have come in the same packet and that it serves all the same. */
const ALL_SEEN = 2 ** 31 - 1;
const TIMEOUT_MS = 1_500;

/** What the server knows of one request. */
interface Said {
  /** Times that it was taken up, and not refused. */
  seen: number;
  what: string;
  /** What was written, and whether it was ended as a whole answer. */
  text: string;
  isWhole: boolean;
}

/** The same for each attempt. */
function wholeOf(id: string): string {
  const dice = new Dice(Number.parseInt(id, 10) || 0);
  return JSON.stringify({ id, pad: "é".repeat(dice.below(dice.pick([10, 3_000, 60_000]))) });
}

class Saboteur {
  readonly said = new Map<string, Said>();
  readonly done = new Map<string, number>();
  readonly #dice: Dice;
  /** Misbehaves; otherwise each request gets a whole answer. */
  isOn = true;

  constructor(dice: Dice) {
    this.#dice = dice;
  }

  readonly handle = (url: string, response: Http2ServerResponse, sockets: Set<Socket>) => {
    const id = url.split("/").at(-1)?.split("?")[0] ?? "";
    const said = this.said.get(id) ?? { seen: 0, what: "asked", text: "", isWhole: false };
    this.said.set(id, said);
    const stream = response.stream as ServerHttp2Stream;
    stream.on("error", () => {});
    said.text = "";
    said.isWhole = false;
    const whole = wholeOf(id);
    const session = stream.session as ServerHttp2Session | undefined;
    if (stream.destroyed || session === undefined) return;
    if (!this.isOn) {
      said.seen += 1;
      said.text = whole;
      said.isWhole = true;
      stream.respond({ ":status": 200, "content-type": "application/json" });
      stream.end(whole);
      return;
    }
    const what = this.#dice.pick([
      "answer",
      "answer",
      "answer",
      "answer",
      "trailers",
      "information",
      "refuse",
      "reset",
      "silence",
      "cut",
      "cut clean",
      "too long a length",
      "too short a length",
      "no length",
      "slow",
      "goaway",
      "goaway error",
      "socket",
      "settings",
      "busy",
      "headers twice",
    ] as const);
    said.what = `${said.what}, ${what}`;
    this.done.set(what, (this.done.get(what) ?? 0) + 1);
    if (what === "refuse") return stream.close(constants.NGHTTP2_REFUSED_STREAM);
    said.seen += 1;
    const respond = (headers = {}, options = {}) =>
      stream.respond({ ":status": 200, "content-type": "application/json", ...headers }, options);
    const end = () => {
      said.text = whole;
      said.isWhole = true;
      stream.end(whole);
    };
    const cut = () => {
      said.text = whole.slice(0, this.#dice.below(whole.length));
      // Node's server may end a stream before it resets it; what came of it has to be all of it then.
      said.isWhole = true;
      stream.write(said.text);
    };
    switch (what) {
      case "answer":
      case "no length":
        respond();
        return end();
      case "trailers":
        response.addTrailers({ "x-end": "1", "grpc-status": "13" });
        respond({}, { waitForTrailers: true });
        return end();
      case "information":
        stream.additionalHeaders({ ":status": 100 });
        stream.additionalHeaders({ ":status": 103, link: "</x>; rel=preload" });
        respond();
        return end();
      case "reset":
        if (this.#dice.chance(0.5)) {
          respond();
          cut();
        }
        return stream.close(this.#dice.pick(ERRORS.filter((code) => code !== constants.NGHTTP2_REFUSED_STREAM)));
      case "silence":
        if (this.#dice.chance(0.5)) respond();
        return;
      case "cut":
        respond();
        cut();
        setTimeout(() => stream.close(this.#dice.pick(ERRORS)), this.#dice.below(20));
        return;
      case "cut clean":
        // Nobody can tell that from a whole answer, other than by its content.
        respond();
        said.text = whole.slice(0, this.#dice.below(whole.length));
        said.isWhole = true;
        stream.end(said.text);
        return;
      case "too long a length":
        respond({ "content-length": String(Buffer.byteLength(whole) + 7) });
        said.text = whole;
        stream.end(whole);
        return;
      case "too short a length":
        respond({ "content-length": String(Math.floor(Buffer.byteLength(whole) / 2)) });
        said.text = whole;
        stream.end(whole);
        return;
      case "slow":
        respond();
        void (async () => {
          said.text = whole;
          for (let at = 0; at < whole.length; at += 500) {
            if (stream.destroyed) return;
            stream.write(whole.slice(at, at + 500));
            await sleep(1);
          }
          said.isWhole = true;
          stream.end();
        })();
        return;
      case "goaway":
        session.goaway(0, ALL_SEEN);
        respond();
        return end();
      case "goaway error":
        session.goaway(this.#dice.pick(CODES), ALL_SEEN);
        if (this.#dice.chance(0.5)) respond();
        return;
      case "socket":
        respond();
        cut();
        for (const socket of sockets) if (this.#dice.chance(0.3)) socket.destroy();
        return;
      case "settings":
        session.settings({
          maxConcurrentStreams: this.#dice.pick([0, 1, 5, 250]),
          initialWindowSize: this.#dice.pick([0, 1, 65_535]),
          headerTableSize: this.#dice.pick([0, 4096]),
        });
        // Should none be allowed any more, that ends: a limit of 0 for good is a server that takes no requests.
        setTimeout(() => {
          if (!session.destroyed) session.settings({ maxConcurrentStreams: 100, initialWindowSize: 65_535 });
        }, 50);
        respond();
        return end();
      case "busy":
        said.seen -= 1;
        respond({ ":status": this.#dice.pick([429, 503]), "retry-after": "0" });
        stream.end("{}");
        return;
      default:
        respond();
        try {
          stream.additionalHeaders({ ":status": 103 });
        } catch {
          // Node's server does not let us.
        }
        return end();
    }
  };
}

async function round(seed: number, counts: Map<string, number>): Promise<void> {
  const dice = new Dice(seed);
  const saboteur = new Saboteur(new Dice(seed + 1));
  const server = await startApiServer(
    (request, response) => {
      try {
        saboteur.handle(request.url, response, server.sockets);
      } catch {
        // The session went while the answer was being written.
      }
    },
    { maxConcurrentStreams: dice.pick([1, 3, 20, 250]) },
  );
  const cluster = new Cluster({
    kubeConfig: server.kubeConfig(),
    retry: { baseMs: 1 },
    pingIntervalMs: 300,
    pingTimeoutMs: 400,
    connectTimeoutMs: 1_000,
  });
  const note = (what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);
  const failed = (error: unknown) => {
    expect(error).toBeInstanceOf(ApiError);
    note((error as ApiError).reason);
  };
  const until = performance.now() + 3_000;
  let ids = 0;
  const oneShot = async () => {
    while (performance.now() < until) {
      const id = `${ids++}`;
      const method = dice.pick(["GET", "POST"] as const);
      const request = {
        method,
        path: `/api/v1/x/${id}`,
        timeoutMs: TIMEOUT_MS,
        ...(method === "POST" ? { body: { id } } : {}),
      };
      await cluster.json<{ id: string }>(request).then((answer) => {
        // Numbers are JSON as well: a cut answer is none.
        expect(answer.id).toBe(id);
        expect(JSON.stringify(answer)).toBe(wholeOf(id));
        note(method);
      }, failed);
      if (method === "POST")
        expect(saboteur.said.get(id)?.seen ?? 0, `POST ${id}: ${saboteur.said.get(id)?.what}`).toBeLessThanOrEqual(1);
    }
  };
  const long = async () => {
    while (performance.now() < until) {
      const id = `${ids++}`;
      const signal = AbortSignal.timeout(dice.pick([50, 1_500]));
      const gone = (error: unknown): undefined => {
        if (error === signal.reason) note("aborted");
        else failed(error);
      };
      const opened = await cluster.open({ path: `/api/v1/x/${id}`, query: { watch: true }, signal }).catch(gone);
      if (opened === undefined) continue;
      let text = "";
      try {
        const decoder = new TextDecoder();
        for await (const chunk of opened.body) {
          text += decoder.decode(chunk as Buffer, { stream: true });
          if (dice.chance(0.02)) await sleep(dice.below(20));
        }
        const said = saboteur.said.get(id);
        expect({ isWhole: said?.isWhole, isAll: text === said?.text }, `end of ${id}: ${said?.what}`).toEqual({
          isWhole: true,
          isAll: true,
        });
        note("read");
      } catch (error) {
        if (error instanceof Error && error.name === "AssertionError") throw error;
        gone(error);
      }
      expect(saboteur.said.get(id)?.text.startsWith(text)).toBe(true);
    }
  };
  try {
    await Promise.all([...Array.from({ length: 12 }, oneShot), ...Array.from({ length: 12 }, long)]);
    // As good as new.
    saboteur.isOn = false;
    let answered = false;
    for (const giveUp = performance.now() + 60_000; !answered && performance.now() < giveUp; ) {
      answered = await cluster.json({ path: "/api/v1/x/last", timeoutMs: 5_000 }).then(
        () => true,
        () => false,
      );
    }
    expect(answered).toBe(true);
  } finally {
    await cluster.close();
    // One that was just being opened is closed as soon as it stands.
    await expect.poll(() => cluster.requests.snapshot().connectionsOpen).toBe(0);
    for (const [what, times] of saboteur.done) counts.set(`<${what}>`, (counts.get(`<${what}>`) ?? 0) + times);
    await server.close();
  }
}

test("any misbehaviour", { timeout: fuzzTimeoutMs() }, () => {
  const counts = new Map<string, number>();
  return fuzz(
    "HTTP/2 servers",
    fc.asyncProperty(fc.noShrink(fc.nat()), (seed) => round(seed, counts)),
    { triesAtOnce: 1, told: () => `, ${JSON.stringify(Object.fromEntries(counts))}` },
  );
});

const [DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION] = [
  0, 1, 3, 4, 5, 6, 7, 8, 9,
];
const END_STREAM = 1;
const END_HEADERS = 4;
/** `:status: 200` and `:status: 204` as HPACK's static table has them. */
const OK = Buffer.from([0x88]);
const NO_CONTENT = Buffer.from([0x89]);

/** Speaks HTTP/2 without knowing a rule of it: frames in any order, of any kind and content, to any stream. */
function answerAnything(socket: TLSSocket, dice: Dice): void {
  const bytes = (count: number) => Buffer.from(Array.from({ length: count }, () => dice.below(256)));
  const number = (value: number) => {
    const buffer = Buffer.alloc(4);
    buffer.writeUInt32BE(value >>> 0);
    return buffer;
  };
  socket.on("error", () => {});
  socket.write(frame(SETTINGS, 0, 0, Buffer.alloc(0)));
  let held = Buffer.alloc(0);
  let isPrefaced = false;
  socket.on("data", (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    if (!isPrefaced) {
      if (held.length < 24) return;
      held = held.subarray(24);
      isPrefaced = true;
    }
    while (held.length >= 9) {
      const length = held.readUIntBE(0, 3);
      if (held.length < 9 + length) return;
      const [type, flags, stream] = [held[3], held[4] ?? 0, held.readUInt32BE(5)];
      const payload = held.subarray(9, 9 + length);
      held = held.subarray(9 + length);
      if (type === SETTINGS && (flags & 1) === 0) socket.write(frame(SETTINGS, 1, 0, Buffer.alloc(0)));
      if (type === PING && (flags & 1) === 0) socket.write(frame(PING, 1, 0, payload));
      if (type === HEADERS) for (const each of answer(stream)) if (!socket.destroyed) socket.write(each);
    }
  });
  const someStream = (stream: number) => dice.pick([stream, stream, stream, stream, 0, 1, 2, stream + 2, 2 ** 31 - 1]);
  function* answer(stream: number): Generator<Buffer> {
    if (dice.chance(0.6)) {
      yield frame(HEADERS, END_HEADERS, stream, OK);
      yield frame(DATA, dice.below(2), stream, Buffer.from(dice.pick(['{"kind":"x"}', "", "{", "[]"])));
    }
    for (let i = dice.below(5); i > 0; i -= 1) {
      const to = someStream(stream);
      switch (dice.below(14)) {
        case 0:
          yield frame(
            HEADERS,
            dice.pick([END_HEADERS, END_HEADERS | END_STREAM, 0, 0x2c]),
            to,
            dice.pick([OK, NO_CONTENT, bytes(9), OK]),
          );
          break;
        case 1:
          yield frame(DATA, dice.pick([0, END_STREAM, 8]), to, bytes(dice.pick([0, 1, 100, 16_384, 16_385])));
          break;
        case 2:
          yield frame(RST_STREAM, 0, to, dice.chance(0.9) ? number(dice.below(20)) : bytes(dice.below(8)));
          break;
        case 3: {
          const settings = Buffer.concat([
            Buffer.from([0, dice.below(10)]),
            number(dice.pick([0, 1, 100, 65_535, 2 ** 31, 2 ** 32 - 1])),
          ]);
          yield frame(SETTINGS, dice.below(2), dice.pick([0, 0, 0, to]), dice.chance(0.8) ? settings : bytes(5));
          break;
        }
        case 4:
          yield frame(
            GOAWAY,
            0,
            dice.pick([0, 0, 0, to]),
            Buffer.concat([
              number(dice.pick([0, stream, stream + 4, 2 ** 31 - 1])),
              number(dice.below(20)),
              bytes(dice.below(20)),
            ]),
          );
          break;
        case 5:
          yield frame(WINDOW_UPDATE, 0, dice.pick([0, to]), number(dice.pick([0, 1, 2 ** 31 - 1])));
          break;
        case 6:
          yield frame(PUSH_PROMISE, END_HEADERS, to, Buffer.concat([number(2), OK]));
          break;
        case 7:
          yield frame(CONTINUATION, END_HEADERS, to, OK);
          break;
        case 8:
          yield frame(PING, dice.below(2), dice.pick([0, 0, to]), bytes(dice.pick([8, 8, 7])));
          break;
        case 9:
          yield frame(dice.below(256), dice.below(256), to, bytes(dice.below(60)));
          break;
        case 10:
          yield bytes(dice.below(60));
          break;
        case 11:
          // A response without a status, or with a header that is none.
          yield frame(HEADERS, END_HEADERS, to, Buffer.from([0x40, 1, 0x61, 1, 0x0a]));
          break;
        case 12:
          if (dice.chance(0.3)) socket.destroy();
          break;
        default:
          yield frame(HEADERS, END_HEADERS | END_STREAM, to, NO_CONTENT);
      }
    }
  }
}

test("any frames", { timeout: fuzzTimeoutMs() }, async () => {
  const { cert, key } = serverCertificate();
  const counts = new Map<string, number>();
  const run = async (seed: number) => {
    const dice = new Dice(seed);
    const sockets = new Set<TLSSocket>();
    const server = tls.createServer({ cert, key, ALPNProtocols: ["h2"] }, (socket) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      answerAnything(socket, dice);
    });
    server.on("tlsClientError", () => {});
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const kubeConfig = kubeConfigOf(
      { server: `https://127.0.0.1:${port}`, "certificate-authority-data": base64(cert) },
      {},
    );
    const cluster = new Cluster({
      kubeConfig,
      retry: { baseMs: 1 },
      pingIntervalMs: 200,
      pingTimeoutMs: 300,
      connectTimeoutMs: 1_000,
    });
    const note = (what: string) => void counts.set(what, (counts.get(what) ?? 0) + 1);
    const failed = (error: unknown) => {
      expect(error).toBeInstanceOf(ApiError);
      note((error as ApiError).reason);
    };
    const until = performance.now() + 1_000;
    const worker = async () => {
      // A slow machine may have had nothing answered by then.
      while (performance.now() < until || !counts.has("answered")) {
        if (dice.chance(0.5)) {
          await cluster
            .json({ method: dice.pick(["GET", "POST"]), path: "/api", timeoutMs: 300 })
            .then(() => note("answered"), failed);
        } else {
          const signal = AbortSignal.timeout(300);
          try {
            const { body } = await cluster.open({ path: "/api", signal });
            for await (const _ of body);
            note("read");
          } catch (error) {
            if (error === signal.reason) note("aborted");
            else failed(error);
          }
        }
      }
    };
    try {
      await Promise.all(Array.from({ length: 10 }, worker));
    } finally {
      await cluster.close();
      // One that was just being opened is closed as soon as it stands.
      await expect.poll(() => cluster.requests.snapshot().connectionsOpen).toBe(0);
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    }
  };
  await fuzz("HTTP/2 frames", fc.asyncProperty(fc.noShrink(fc.nat()), run), {
    triesAtOnce: 1,
    told: () => `, ${JSON.stringify(Object.fromEntries(counts))}`,
  });
  expect(counts.get("answered")).toBeGreaterThan(0);
});
