import type { AdapterEnvironmentCheck } from "@paperclipai/adapter-utils";
import type { CheckCode } from "../../error-codes.ts";

/** One of the adapter's own checks. */
export interface Check extends AdapterEnvironmentCheck {
  code: CheckCode;
}
