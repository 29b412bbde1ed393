import { sessionCodecOf } from "../adapter/host/session.ts";

export const sessionCodec = sessionCodecOf([["promptBundleKey", "prompt_bundle_key"], ["mcpServerIdentity"]]);
