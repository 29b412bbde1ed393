import type { SecureContext, SecureContextOptions } from "node:tls";

/** Throws where certificate, key and CA are no PEM or do not fit together. TLS is loaded when it is needed. */
export function secureContext(options: SecureContextOptions): SecureContext {
  return process.getBuiltinModule("node:tls").createSecureContext(options);
}
