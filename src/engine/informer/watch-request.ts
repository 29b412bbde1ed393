import { finished } from "node:stream/promises";
import {
  type ApiStream,
  type Cluster,
  isProtobuf,
  JsonLinesDecoder,
  type Kinds,
  LinkedAbort,
  PROTOBUF,
  ProtobufFrames,
  type Query,
  readEvent,
} from "../transport/index.ts";
import { managedFieldsSpan } from "./managed-fields.ts";
import { ContentTypeError, StalledError } from "./watch-errors.ts";

interface WatchRequest {
  cluster: Cluster;
  path: string;
  query: Query;
  signal: AbortSignal;
  silence: Silence;
  maxFrameBytes: number | undefined;
  /** Asks for protobuf, too, and reads these kinds of it; null: for JSON alone. */
  kinds: Kinds | null;
  /** Parse `managedFields`, too. */
  isWhole: boolean;
  onOpen: () => void;
  onFrame: (frame: unknown) => void;
  /** So many bytes have come; their frames follow. */
  onChunk: (bytes: number) => void;
}

/** One watch, from its request to its clean end. @throws ApiError, FrameError, WatchProtocolError, StalledError, what `onFrame` throws */
export async function watchOnce(request: WatchRequest): Promise<void> {
  const { cluster, path, query, silence, kinds, onOpen, onFrame, onChunk } = request;
  const abort = new LinkedAbort([request.signal, silence.signal]);
  try {
    const preferred = kinds === null ? undefined : { type: `${PROTOBUF};stream=watch` };
    const stream = await cluster.open({ path, query, preferred, signal: abort.signal });
    const decoder = decoderFor(stream, request);
    onOpen();
    // An async iterator costs several promises a chunk, and a chunk is often one frame.
    stream.body.on("data", (chunk: Uint8Array) => {
      try {
        onChunk(chunk.byteLength);
        decoder.push(chunk, onFrame);
      } catch (error) {
        stream.body.destroy(error as Error);
      }
    });
    await finished(stream.body, { writable: false });
    decoder.end(onFrame);
  } catch (error) {
    throw silence.signal.aborted ? silence.signal.reason : error;
  } finally {
    silence.end();
    abort.release();
  }
}

/** Aborts when nothing of what is expected has come for some time. */
export class Silence {
  readonly #controller = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** From now on: within so many milliseconds, and again after each `refresh`. */
  expect(ms: number, describe: (ms: number) => string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#controller.abort(new StalledError(describe(ms))), ms);
    this.#timer.unref();
  }

  refresh(): void {
    this.#timer?.refresh();
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

interface Decoder {
  push(chunk: Uint8Array, onFrame: (frame: unknown) => void): void;
  end(onFrame: (frame: unknown) => void): void;
}

/** By what the server answers with. */
function decoderFor(stream: ApiStream, { path, kinds, maxFrameBytes, isWhole }: WatchRequest): Decoder {
  if (kinds !== null && isProtobuf(stream.headers["content-type"])) {
    const frames = new ProtobufFrames({ maxFrameBytes });
    return {
      push: (chunk, onFrame) => frames.push(chunk, (frame) => onFrame(readEvent(frame, kinds))),
      end: () => frames.end(),
    };
  }
  checkContentType(stream, path);
  return new JsonLinesDecoder({
    ...(maxFrameBytes === undefined ? {} : { maxFrameBytes }),
    ...(isWhole ? {} : { skip: managedFieldsSpan }),
  });
}

/** A proxy's login or error page comes with status 200. An answer that names no type is read as what was asked for. */
function checkContentType(stream: ApiStream, path: string): void {
  const type = String(stream.headers["content-type"] ?? "");
  if (type === "" || /^application\/json\s*(;|$)/i.test(type)) return;
  stream.body.destroy();
  throw new ContentTypeError(
    `the watch of ${path} was answered with content type ${JSON.stringify(type)} instead of application/json; is there a proxy before the API server?`,
  );
}
