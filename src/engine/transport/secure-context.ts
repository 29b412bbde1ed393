import type { SecureContext, SecureContextOptions } from "node:tls";

/** Throws where certificate, key and CA are no PEM or do not fit together. TLS is loaded when it is needed. */
export function secureContext(options: SecureContextOptions): SecureContext {
  return process.getBuiltinModule("node:tls").createSecureContext(options);
}

let machineCas: { readonly pem: string | undefined } | undefined;

/**
 * The CAs to trust where none are named, by the kubeconfig, for a proxy, for an identity provider: as in Go also those of the
 * machine (`SSL_CERT_FILE`, `SSL_CERT_DIR`, else the system's), where a company has its own. Read once. Undefined where they add none
 * to Node's.
 */
export function casOfMachine(): string | undefined {
  if (machineCas === undefined) {
    const { getCACertificates } = process.getBuiltinModule("node:tls");
    const known = getCACertificates("default");
    const all = new Set([...known, ...getCACertificates("system")]);
    machineCas = { pem: all.size > new Set(known).size ? [...all].join("\n") : undefined };
  }
  return machineCas.pem;
}
