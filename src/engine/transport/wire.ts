/** The part of undici's Dispatcher interface that the transport uses, so that HTTP/1.1 (undici) and HTTP/2 (ours) look the same. */
export interface Wire {
  dispatch(request: WireRequest, handler: RequestHandler): unknown;
}

export interface WireRequest {
  method: string;
  /** Path with query. */
  path: string;
  headers: Record<string, string>;
  body: string | null;
}

export interface Controller {
  pause(): void;
  resume(): void;
  abort(reason: Error): void;
}

export interface RequestHandler {
  /** It is about to be sent. `controller.abort` in here keeps it from being sent. */
  onRequestStart(controller: Controller): void;
  onResponseStart(controller: Controller, status: number, headers: Record<string, string | string[] | undefined>): void;
  onResponseData(controller: Controller, chunk: Buffer): void;
  onResponseEnd(): void;
  /** Also without `onRequestStart` before it: then it was not sent. */
  onResponseError(controller: Controller | null, error: Error): void;
}
