import {
  type Configuration,
  createConfiguration,
  type HttpMethod,
  type RequestContext,
  ResponseContext,
  ServerConfiguration,
  wrapHttpLibrary,
} from "@kubernetes/client-node";

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
  return new type(
    createConfiguration({
      baseServer: new ServerConfiguration(server, {}),
      httpApi: wrapHttpLibrary({ send: async (context) => toResponseContext(await send(fromRequestContext(context))) }),
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

function toResponseContext({ status, headers, body }: TypedResponse): ResponseContext {
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
