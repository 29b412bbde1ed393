import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Agent, getGlobalDispatcher, setGlobalDispatcher } from "undici";
import { expect, onTestFinished, test } from "vitest";
import { operate, startRelay, takeTurn } from "../../e2e/relay.ts";

setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

test("a file's turn lasts until it ends it: garbage collection does not let the next file in", async () => {
  let operations = 0;
  const relay = await startRelay({
    restartApiServer: async () => {
      operations += 1;
      return null;
    },
  });
  onTestFinished(() => relay.close());
  const endFirst = await takeTurn(relay.url, true);
  let isSecondIn = false;
  const second = takeTurn(relay.url, true).then((end) => {
    isSecondIn = true;
    return end;
  });
  // Each is a round trip after which a connection that was given up would have been noticed.
  for (let round = 1; round <= 20; round += 1) {
    collectGarbage();
    await operate(relay.url, "restartApiServer", {});
    expect(isSecondIn, `after ${round} collections`).toBe(false);
  }
  expect(operations).toBe(20);
  endFirst();
  const endSecond = await second;
  expect(isSecondIn).toBe(true);
  endSecond();
});

test("a file waits for its turn longer than fetch waits for an answer", async () => {
  const before = getGlobalDispatcher();
  const impatient = new Agent({ headersTimeout: 100, bodyTimeout: 100 });
  setGlobalDispatcher(impatient);
  onTestFinished(async () => {
    setGlobalDispatcher(before);
    await impatient.destroy();
  });
  const relay = await startRelay({ restartApiServer: () => new Promise(() => {}) });
  onTestFinished(() => relay.close());
  const endFirst = await takeTurn(relay.url, true);
  let isSecondIn = false;
  const second = takeTurn(relay.url, true).then((end) => {
    isSecondIn = true;
    return end;
  });
  await expect(operate(relay.url, "restartApiServer", {})).rejects.toMatchObject({
    cause: { code: "UND_ERR_HEADERS_TIMEOUT" },
  });
  expect(isSecondIn).toBe(false);
  endFirst();
  const endSecond = await second;
  endSecond();
});
