import { setTimeout as sleep } from "node:timers/promises";
import { isForbidden, isUnauthorized } from "../../engine/index.ts";

const AGAIN_MS = 1_000;

/** Asked before a request is sent again: is the Job still this process's? It may have been stopped for longer than its Lease. */
export type Confirm = () => Promise<boolean>;

export interface Again {
  readonly signal: AbortSignal;
  /** Default: 401 and 403. */
  readonly isFinal?: (error: unknown) => boolean;
  readonly confirm?: Confirm | undefined;
}

/**
 * Sends a request until it is answered with success or with an error that is final, a second apart. A proxy before the API server
 * may answer with anything for a while, also with what looks like Kubernetes' own.
 * @throws its last error
 */
export async function repeated<T>(
  send: () => Promise<T>,
  { signal, isFinal = (error) => isForbidden(error) || isUnauthorized(error), confirm = async () => true }: Again,
): Promise<T> {
  while (true) {
    try {
      return await send();
    } catch (error) {
      if (isFinal(error)) throw error;
      await sleep(AGAIN_MS, undefined, { signal, ref: false }).catch(() => undefined);
      if (signal.aborted || !(await confirm()) || signal.aborted) throw error;
    }
  }
}
