import { X509Certificate } from "node:crypto";
import type { SecureContext, SecureContextOptions } from "node:tls";

/** Throws where certificate, key and CA are no PEM or do not fit together. TLS is loaded when it is needed. */
export function secureContext(options: SecureContextOptions): SecureContext {
  return process.getBuiltinModule("node:tls").createSecureContext(options);
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/**
 * A bundle of CAs without the blocks that cannot be read, as Go reads it. OpenSSL refuses a bundle that begins with one, and drops
 * without a word whatever follows one. Unchanged where all can be read, or none.
 */
export function readableCas(bundle: Buffer): Buffer {
  const blocks = bundle.toString("latin1").match(CERTIFICATE) ?? [];
  const readable = blocks.filter(isCertificate);
  if (readable.length === 0 || readable.length === blocks.length) return bundle;
  return Buffer.from(readable.join("\n"), "latin1");
}

function isCertificate(pem: string): boolean {
  try {
    new X509Certificate(pem);
    return true;
  } catch {
    return false;
  }
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
