import { channel } from "node:diagnostics_channel";
import { describeRequest } from "./request-counter.ts";

/** Channel `k8s-run-informer:request`: one message a request that was answered, or was not. */
export interface RequestMessage {
  /** As RBAC names them: `watch`, `pods/log`. */
  verb: string;
  resource: string;
  /** HTTP status; 0: no answer. */
  status: number;
  /** From the sending to the answer's head, in milliseconds. */
  durationMs: number;
  server: string;
}

const requests = channel("k8s-run-informer:request");

/** Resolves as `send` does. Nothing is measured while there is no subscriber. */
export async function published<T extends { status: number }>(
  { method, target, server }: { method: string; target: string; server: string },
  send: () => Promise<T>,
): Promise<T> {
  if (!requests.hasSubscribers) return await send();
  const sentAt = performance.now();
  let status = 0;
  try {
    const answer = await send();
    ({ status } = answer);
    return answer;
  } finally {
    const [verb = "", resource = ""] = describeRequest(method, target).split(" ");
    const message: RequestMessage = { verb, resource, status, durationMs: performance.now() - sentAt, server };
    requests.publish(message);
  }
}
