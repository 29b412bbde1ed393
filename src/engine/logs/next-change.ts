/** Something that tells of its changes: a `LogSource`, a run. */
export interface Changing {
  onChange(listener: () => void): () => void;
}

/** Resolves at the next change, after `ms`, or when the signal aborts. */
export function nextChange(source: Changing, signal: AbortSignal, ms?: number): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const settle = () => {
      stop();
      clearTimeout(timer);
      signal.removeEventListener("abort", settle);
      resolve();
    };
    const stop = source.onChange(settle);
    // Not unref'd: whoever awaits lines keeps the process alive, though no request is open at the moment.
    const timer = ms === undefined ? undefined : setTimeout(settle, ms);
    signal.addEventListener("abort", settle, { once: true });
  });
}
