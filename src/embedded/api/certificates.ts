import { createPrivateKey } from "node:crypto";
import { type GenerateResult, generate } from "selfsigned";

/** The cluster's own certificate authority, with P-256 keys: made in milliseconds, at each start. */

export interface KeyPair {
  /** PEM */
  cert: string;
  /** PEM */
  key: string;
}

const VALID_MS = 10 * 365 * 86_400_000;

function validity() {
  const now = Date.now();
  // A day of slack: the clocks of tests may differ.
  return { notBeforeDate: new Date(now - 86_400_000), notAfterDate: new Date(now + VALID_MS) };
}

function keyPair(result: GenerateResult): KeyPair {
  // Some clients (and OpenSSL's EC loader) want SEC 1 or PKCS #8 with the right header: Node normalises it.
  const key = createPrivateKey(result.private).export({ type: "pkcs8", format: "pem" }).toString();
  return { cert: result.cert, key };
}

export class CertificateAuthority {
  readonly #ca: KeyPair;

  private constructor(ca: KeyPair) {
    this.#ca = ca;
  }

  static async create(): Promise<CertificateAuthority> {
    const result = await generate([{ name: "commonName", value: "kubernetes" }], {
      keyType: "ec",
      curve: "P-256",
      algorithm: "sha256",
      ...validity(),
      extensions: [
        { name: "basicConstraints", cA: true, critical: true },
        { name: "keyUsage", keyCertSign: true, cRLSign: true, digitalSignature: true, critical: true },
      ],
    });
    return new CertificateAuthority(keyPair(result));
  }

  /** PEM */
  get cert(): string {
    return this.#ca.cert;
  }

  server(hosts: { dns: readonly string[]; ips: readonly string[] }): Promise<KeyPair> {
    return this.#issue(
      [{ name: "commonName", value: "kube-apiserver" }],
      [
        { name: "basicConstraints", cA: false, critical: true },
        { name: "keyUsage", digitalSignature: true, keyEncipherment: true, critical: true },
        { name: "extKeyUsage", serverAuth: true },
        {
          name: "subjectAltName",
          altNames: [
            ...hosts.dns.map((value) => ({ type: 2 as const, value })),
            ...hosts.ips.map((ip) => ({ type: 7 as const, ip })),
          ],
        },
      ],
    );
  }

  /** A client certificate: the common name is the user, each organization a group. */
  client(user: string, groups: readonly string[]): Promise<KeyPair> {
    return this.#issue(
      [...groups.map((value) => ({ name: "organizationName", value })), { name: "commonName", value: user }],
      [
        { name: "basicConstraints", cA: false, critical: true },
        { name: "keyUsage", digitalSignature: true, critical: true },
        { name: "extKeyUsage", clientAuth: true },
      ],
    );
  }

  async #issue(
    subject: NonNullable<Parameters<typeof generate>[0]>,
    extensions: NonNullable<NonNullable<Parameters<typeof generate>[1]>["extensions"]>,
  ): Promise<KeyPair> {
    const result = await generate(subject, {
      keyType: "ec",
      curve: "P-256",
      algorithm: "sha256",
      ...validity(),
      ca: this.#ca,
      extensions,
    });
    return keyPair(result);
  }
}
