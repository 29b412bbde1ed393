import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What the stand-in answers to one request. */
export type Answer =
  | { readonly kind: "text"; readonly text: string; readonly stopReason?: "refusal" | "max_tokens" }
  | { readonly kind: "tool"; readonly command: string; readonly background?: boolean }
  /** A call of a tool other than Bash. */
  | { readonly kind: "call"; readonly tool: string; readonly input: Record<string, unknown> }
  | {
      readonly kind: "error";
      readonly status: number;
      readonly type: string;
      readonly message: string;
      readonly headers?: Record<string, string>;
    }
  /** The connection breaks in the middle of the answer. */
  | { readonly kind: "cut"; readonly text: string }
  /** A gateway's answer in place of the API's. */
  | { readonly kind: "foreign"; readonly contentType: string; readonly body: string }
  /** Nothing, until the client goes away. */
  | { readonly kind: "silence" };

/** A request for an answer of the model, in short. */
export interface Asked {
  /** From 1. */
  readonly number: number;
  readonly model: string;
  readonly body: string;
}

/** A stand-in for the Messages API on loopback, as far as Claude Code needs it. */
export class MessagesApi {
  readonly asked: Asked[] = [];
  readonly #server = createServer((request, response) => void this.#serve(request, response));
  readonly #answer: (asked: Asked) => Answer;
  #onAsked: (() => void) | null = null;

  private constructor(answer: (asked: Asked) => Answer) {
    this.#answer = answer;
  }

  static async start(answer: (asked: Asked) => Answer): Promise<MessagesApi> {
    const api = new MessagesApi(answer);
    await new Promise<void>((resolve) => api.#server.listen(0, "127.0.0.1", resolve));
    return api;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Resolves with the next request. */
  nextRequest(): Promise<void> {
    return new Promise((resolve) => {
      this.#onAsked = resolve;
    });
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (request.method !== "POST" || !/^\/v1\/messages(\?|$)/.test(request.url ?? "")) {
      response.writeHead(request.method === "HEAD" ? 200 : 404, { "content-type": "application/json" }).end("{}");
      return;
    }
    const body = Buffer.concat(chunks).toString();
    const model = String((JSON.parse(body) as { model?: string }).model);
    const asked = { number: this.asked.length + 1, model, body };
    this.asked.push(asked);
    const answer = this.#answer(asked);
    this.#onAsked?.();
    this.#onAsked = null;
    if (answer.kind === "silence") return;
    if (answer.kind === "foreign") {
      response.writeHead(200, { "content-type": answer.contentType }).end(answer.body);
      return;
    }
    if (answer.kind === "error") {
      const error = { type: "error", error: { type: answer.type, message: answer.message } };
      response
        .writeHead(answer.status, { "content-type": "application/json", ...answer.headers })
        .end(JSON.stringify(error));
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    for (const event of events(answer, asked))
      response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
    if (answer.kind === "cut") setImmediate(() => response.destroy());
    else response.end();
  }
}

function* events(
  answer: Extract<Answer, { kind: "text" | "tool" | "call" | "cut" }>,
  { number, model }: Asked,
): Generator<{ type: string } & Record<string, unknown>> {
  const usage = { input_tokens: 25, cache_creation_input_tokens: 5, cache_read_input_tokens: 11, output_tokens: 1 };
  yield {
    type: "message_start",
    message: {
      id: `msg_${number}`,
      type: "message",
      role: "assistant",
      model,
      content: [],
      stop_reason: null,
      stop_sequence: null,
      usage,
    },
  };
  const call = callOf(answer);
  yield {
    type: "content_block_start",
    index: 0,
    content_block:
      call === null
        ? { type: "text", text: "" }
        : { type: "tool_use", id: `toolu_${number}`, name: call.tool, input: {} },
  };
  yield {
    type: "content_block_delta",
    index: 0,
    delta:
      call === null
        ? { type: "text_delta", text: "text" in answer ? answer.text : "" }
        : { type: "input_json_delta", partial_json: JSON.stringify(call.input) },
  };
  if (answer.kind === "cut") return;
  yield { type: "content_block_stop", index: 0 };
  yield {
    type: "message_delta",
    delta: { stop_reason: call !== null ? "tool_use" : stopReasonOf(answer), stop_sequence: null },
    usage: { output_tokens: 17 },
  };
  yield { type: "message_stop" };
}

function stopReasonOf(answer: Answer): string {
  return (answer.kind === "text" ? answer.stopReason : undefined) ?? "end_turn";
}

function callOf(answer: Answer): { tool: string; input: Record<string, unknown> } | null {
  if (answer.kind === "call") return answer;
  if (answer.kind !== "tool") return null;
  const { command, background } = answer;
  const input = { command, description: "run it", ...(background === true ? { run_in_background: true } : {}) };
  return { tool: "Bash", input };
}
