import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, get, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { OperationName, Operations } from "./targets/target.ts";
import { Turns } from "./turns.ts";

/**
 * Tests run in worker processes, the target lives in vitest's main one: this carries the target's operations between them,
 * over loopback, for whoever knows the path. It also says when a file's turn has come.
 */
export interface Relay {
  readonly url: string;
  close(): Promise<void>;
}

export async function startRelay(operations: Partial<Operations>): Promise<Relay> {
  const secret = randomBytes(16).toString("hex");
  const turns = new Turns();
  const server = createServer(async (request, response) => {
    const answer = (status: number, body: unknown) => {
      response.writeHead(status, { "content-type": "application/json", connection: "close" });
      response.end(JSON.stringify(body));
    };
    try {
      const name = request.url?.startsWith(`/${secret}/`) ? request.url.slice(secret.length + 2) : "";
      if (name in TURNS) {
        const end = await turns.take(TURNS[name as keyof typeof TURNS]);
        // The turn lasts as long as the answer: a worker that dies ends it too.
        response.once("close", end);
        if (response.destroyed) end();
        else response.writeHead(200, { connection: "close" }).flushHeaders();
        return;
      }
      const operation = operations[name as OperationName] as ((input: unknown) => Promise<unknown>) | undefined;
      if (operation === undefined) return answer(404, { error: `no operation ${JSON.stringify(name)}` });
      let body = "";
      for await (const chunk of request) body += chunk;
      answer(200, { result: await operation(JSON.parse(body)) });
    } catch (error) {
      answer(500, { error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/${secret}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const TURNS = { "turn-shared": false, "turn-alone": true } as const;

/** In a worker: resolves when the cluster is free for one more file, or for this one alone. Returns what ends the turn. */
export async function takeTurn(relayUrl: string, alone: boolean): Promise<() => void> {
  // Not by fetch: it gives up an answer that has not begun after five minutes, and ends one that is garbage-collected.
  const request = get(relayUrl + (alone ? "turn-alone" : "turn-shared"));
  const [response] = (await once(request, "response")) as [IncomingMessage];
  // The relay ends with the run, and with it what it had not answered to the end.
  request.on("error", () => {});
  if (response.statusCode !== 200)
    throw new Error(`the relay answered ${response.statusCode} to a file that asked for its turn`);
  return () => void response.destroy();
}

/** In a worker: does something to the cluster. @throws Error with the operation's own stack */
export async function operate<Name extends OperationName>(
  relayUrl: string,
  name: Name,
  input: Parameters<Operations[Name]>[0],
): Promise<Awaited<ReturnType<Operations[Name]>>> {
  const response = await fetch(relayUrl + name, { method: "POST", body: JSON.stringify(input) });
  const { result, error } = (await response.json()) as { result?: unknown; error?: string };
  if (!response.ok) throw new Error(`operation ${name} failed: ${error}`);
  return result as Awaited<ReturnType<Operations[Name]>>;
}
