import { finished, type Readable } from "node:stream";

interface Consumer {
  /** False: it wants no more. A promise only where it has to be waited for. */
  push(chunk: Uint8Array): boolean | Promise<boolean>;
}

/**
 * Takes a body chunk by chunk as they come: with thousands of streams of a line now and then, iterating would cost more than
 * the lines themselves. The read holds the body back with a promise, and ends it with false. Resolves with whether the body
 * came to its end; rejects with what the read throws. Neither before the read has let go: a body can break while it is held back, and
 * what is still being taken must not meet the read that follows.
 */
export function consume(body: Readable, read: Consumer): Promise<boolean> {
  return new Promise((resolve, reject) => {
    let held: Promise<void> | null = null;
    const fail = (error: unknown) => {
      body.destroy();
      reject(error);
    };
    const goOn = (more: boolean) => {
      held = null;
      if (more) {
        body.resume();
        return;
      }
      resolve(false);
      body.destroy();
    };
    body.on("data", (chunk: Uint8Array) => {
      try {
        const more = read.push(chunk);
        if (more === true) return;
        body.pause();
        if (more === false) goOn(false);
        else held = more.then(goOn, fail);
      } catch (error) {
        fail(error);
      }
    });
    // Listeners would come too late for a body that broke in the same moment as its headers came; this looks.
    finished(body, { writable: false }, (error) => {
      const settle = () => resolve(!error);
      if (held === null) settle();
      else void held.then(settle);
    });
  });
}
