import { createRequire } from "node:module";
import type { Configuration, HttpMethod, RequestContext, ResponseContext } from "@kubernetes/client-node";

type ClientNode = typeof import("@kubernetes/client-node");

/** `BatchV1Api`, `CoreV1Api` … of client-node. */
export type ApiConstructor<T> = new (configuration: Configuration) => T;

/** What a typed API class wants sent. */
export interface TypedRequest {
  method: HttpMethod;
  /** Path with query, the server's own path included. */
  target: string;
  headers: Record<string, string>;
  body: string | undefined;
  signal: AbortSignal | undefined;
}

export interface TypedResponse {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

/**
 * A typed API class of client-node whose requests go through `send`. `KubeConfig.makeApiClient` would open (and, in 2.0.1, leak)
 * a connection a request, since its security method makes a new undici Agent each time.
 */
export function createTypedApi<T>(
  type: ApiConstructor<T>,
  server: string,
  send: (request: TypedRequest) => Promise<TypedResponse>,
): T {
  // Loaded on the first call: client-node costs 0.3 s and 90 MB, and most who watch runs never need its classes.
  const clientNode: ClientNode = createRequire(import.meta.url)("@kubernetes/client-node");
  const { createConfiguration, ServerConfiguration, wrapHttpLibrary } = clientNode;
  return new type(
    createConfiguration({
      baseServer: new ServerConfiguration(server, {}),
      httpApi: wrapHttpLibrary({
        send: async (context) => toResponseContext(clientNode, await send(fromRequestContext(context))),
      }),
    }),
  );
}

function fromRequestContext(context: RequestContext): TypedRequest {
  const body: unknown = context.getBody();
  const { pathname, search } = new URL(context.getUrl());
  return {
    method: context.getHttpMethod(),
    target: pathname + search,
    headers: context.getHeaders(),
    body: body === undefined || body === null ? undefined : String(body),
    signal: context.getSignal(),
  };
}

function toResponseContext({ ResponseContext }: ClientNode, { status, headers, body }: TypedResponse): ResponseContext {
  const flat: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  return new ResponseContext(status, flat, {
    text: async () => body.toString("utf8"),
    binary: async () => body,
    stream: () => new Blob([new Uint8Array(body)]).stream(),
  });
}
