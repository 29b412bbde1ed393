import { objectJson } from "../objects/object-json.ts";
import type { StoredObject } from "../objects/objects.ts";
import type { StatusError } from "../objects/status-error.ts";
import type { Exchange, ResponseHeaders } from "./exchange.ts";
import { PROTOBUF_HEADERS, statusProtobuf, wantsProtobuf } from "./protobuf.ts";

const NEWLINE = Buffer.from("\n");

export const JSON_HEADERS: ResponseHeaders = {
  "cache-control": "no-cache, private",
  "content-type": "application/json",
};

export function sendJson(exchange: Exchange, status: number, body: unknown, headers: ResponseHeaders = {}): void {
  exchange.respond(status, { ...JSON_HEADERS, ...headers }, [Buffer.from(`${JSON.stringify(body)}\n`)]);
}

export function sendObject(exchange: Exchange, status: number, object: StoredObject): void {
  exchange.respond(status, JSON_HEADERS, [objectJson(object), NEWLINE]);
}

export function sendText(exchange: Exchange, status: number, text: string): void {
  exchange.respond(
    status,
    {
      "cache-control": "no-cache, private",
      "content-type": "text/plain; charset=utf-8",
      "x-content-type-options": "nosniff",
    },
    [Buffer.from(text)],
  );
}

export function sendError(exchange: Exchange, error: StatusError): void {
  const retryAfter = error.details?.retryAfterSeconds;
  const headers = {
    ...(retryAfter === undefined ? {} : { "retry-after": retryAfter }),
    ...(error.code === 403 ? { "x-content-type-options": "nosniff" } : {}),
  };
  if (wantsProtobuf(exchange.headers.accept))
    exchange.respond(error.code, { ...PROTOBUF_HEADERS, ...headers }, [statusProtobuf(error.body())]);
  else sendJson(exchange, error.code, error.body(), headers);
}
