/** `k8s-run-informer/server`: the adapter's functions one by one, for hosts that call them without the loader. */
import { createServerAdapter } from "../index.ts";

export { createServerAdapter } from "../index.ts";
export { sessionCodec } from "./session-codec.ts";

const adapter = createServerAdapter();

export const execute = adapter.execute;
export const testEnvironment = adapter.testEnvironment;
