import { pipeline } from "node:stream";
import type { Incoming } from "./exchange.ts";

/**
 * The answer in plain bytes. This client asks for no compression, and some proxies compress all the same. What has been flushed
 * is passed on at once, so watches and logs lose no time. Destroying the body ends the request, as with any other answer.
 */
export function decoded(incoming: Incoming): Incoming {
  if (!/^(x-)?gzip$/i.test(String(incoming.headers["content-encoding"] ?? ""))) return incoming;
  const { constants, createGunzip } = process.getBuiltinModule("node:zlib");
  // The reader of the body gets every error.
  const body = pipeline(incoming.body, createGunzip({ flush: constants.Z_SYNC_FLUSH }), () => undefined);
  return { ...incoming, body };
}
