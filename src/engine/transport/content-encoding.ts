import { pipeline } from "node:stream";
import { ApiError, type RequestName } from "./api-error.ts";
import type { Incoming } from "./exchange.ts";

/**
 * The answer in plain bytes. This client asks for no compression, and some proxies compress all the same. What has been flushed
 * is passed on at once, so watches and logs lose no time. Destroying the body ends the request, as with any other answer.
 */
export function decoded(incoming: Incoming, name: RequestName): Incoming {
  if (!/^(x-)?gzip$/i.test(String(incoming.headers["content-encoding"] ?? ""))) return incoming;
  const { constants, createGunzip } = process.getBuiltinModule("node:zlib");
  const gunzip = createGunzip({ flush: constants.Z_SYNC_FLUSH });
  const destroy = gunzip._destroy;
  gunzip._destroy = (error, done) => destroy.call(gunzip, isOfZlib(error) ? broken(error) : error, done);
  // The reader of the body gets every error.
  const body = pipeline(incoming.body, gunzip, () => undefined);
  return { ...incoming, body };

  function broken(cause: Error): ApiError {
    const reason = "TruncatedAnswer";
    const message = `${name.method} ${name.path}: ${incoming.status} ${reason}: its gzip is broken or cut short: ${cause.message}`;
    return new ApiError({ ...name, status: incoming.status, reason, message, cause });
  }
}

function isOfZlib(error: Error | null): error is Error {
  return String((error as { code?: unknown } | null)?.code).startsWith("Z_");
}
