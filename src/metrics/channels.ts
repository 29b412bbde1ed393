import { type ChannelListener, subscribe, unsubscribe } from "node:diagnostics_channel";
import type { ResultMessage, StartMessage } from "../adapter/diagnostics.ts";
import type { LogMessage, RequestMessage, RunMessage, WatchEvent } from "../engine/index.ts";

interface Messages {
  request: RequestMessage;
  watch: WatchEvent;
  run: RunMessage;
  log: LogMessage;
  start: StartMessage;
  result: ResultMessage;
}

/** Listens to diagnostics channels, by the last part of their names. Returns the function that ends it. */
export function listen(listeners: { [Name in keyof Messages]?: (message: Messages[Name]) => void }): () => void {
  const entries = Object.entries(listeners) as [string, ChannelListener][];
  for (const [name, listener] of entries) subscribe(`k8s-run-informer:${name}`, listener);
  return () => {
    for (const [name, listener] of entries) unsubscribe(`k8s-run-informer:${name}`, listener);
  };
}
