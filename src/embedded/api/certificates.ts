import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIPv4 } from "node:net";
import { bits, integer, octets, oid, sequence, set, TRUE, tagged, time, utf8 } from "./der.ts";

/** The cluster's own certificate authority, with P-256 keys: made in a millisecond, at each start. */

export interface KeyPair {
  /** PEM */
  cert: string;
  /** PEM */
  key: string;
}

interface Issuer {
  readonly name: Buffer;
  readonly keyId: Buffer;
  readonly privateKey: KeyObject;
}

const COMMON_NAME = "2.5.4.3";
const ORGANIZATION = "2.5.4.10";
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
const DAY_MS = 86_400_000;
const VALID_MS = 10 * 365 * DAY_MS;

/** KeyUsage of RFC 5280, 4.2.1.3: bits from the left, and how many of the byte are unused. */
const SIGNS_CERTIFICATES = bits(Buffer.from([0b1000_0110]), 1);
const SIGNS_AND_ENCIPHERS = bits(Buffer.from([0b1010_0000]), 5);
const SIGNS = bits(Buffer.from([0b1000_0000]), 7);

export class CertificateAuthority {
  /** PEM */
  readonly cert: string;
  readonly #issuer: Issuer;

  constructor() {
    const { publicKey, privateKey } = keys();
    this.#issuer = { name: nameOf([[COMMON_NAME, "kubernetes"]]), keyId: keyIdOf(publicKey), privateKey };
    this.cert = certificate(this.#issuer, this.#issuer.name, publicKey, [
      extension("2.5.29.19", sequence(TRUE), true),
      extension("2.5.29.15", SIGNS_CERTIFICATES, true),
    ]);
  }

  server(hosts: { dns: readonly string[]; ips: readonly string[] }): KeyPair {
    const names = [
      ...hosts.dns.map((host) => tagged(0x82, Buffer.from(host))),
      ...hosts.ips.map((ip) => tagged(0x87, addressOf(ip))),
    ];
    return this.#issue(
      [[COMMON_NAME, "kube-apiserver"]],
      [
        extension("2.5.29.15", SIGNS_AND_ENCIPHERS, true),
        extension("2.5.29.37", sequence(oid(SERVER_AUTH))),
        extension("2.5.29.17", sequence(...names)),
      ],
    );
  }

  /** A client certificate: the common name is the user, each organization a group. */
  client(user: string, groups: readonly string[]): KeyPair {
    return this.#issue(
      [...groups.map((group) => [ORGANIZATION, group] as const), [COMMON_NAME, user]],
      [extension("2.5.29.15", SIGNS, true), extension("2.5.29.37", sequence(oid(CLIENT_AUTH)))],
    );
  }

  #issue(subject: readonly (readonly [string, string])[], extensions: readonly Buffer[]): KeyPair {
    const { publicKey, privateKey } = keys();
    const isNoAuthority = extension("2.5.29.19", sequence(), true);
    return {
      cert: certificate(this.#issuer, nameOf(subject), publicKey, [isNoAuthority, ...extensions]),
      key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    };
  }
}

function keys(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

/** X.509 version 3, signed with ECDSA over SHA-256 (RFC 5280, 4.1). As PEM. */
function certificate(issuer: Issuer, subject: Buffer, publicKey: KeyObject, extensions: readonly Buffer[]): string {
  const algorithm = sequence(oid("1.2.840.10045.4.3.2"));
  const now = Date.now();
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const body = sequence(
    tagged(0xa0, integer(Buffer.from([2]))),
    integer(serial),
    algorithm,
    issuer.name,
    // A day of slack: the clocks of tests may differ.
    sequence(time(new Date(now - DAY_MS)), time(new Date(now + VALID_MS))),
    subject,
    publicKey.export({ type: "spki", format: "der" }),
    tagged(
      0xa3,
      sequence(
        ...extensions,
        // Clients that check strictly (Python 3.13) ask for both key identifiers.
        extension("2.5.29.14", octets(keyIdOf(publicKey))),
        extension("2.5.29.35", sequence(tagged(0x80, issuer.keyId))),
      ),
    ),
  );
  const der = sequence(body, algorithm, bits(sign("sha256", body, issuer.privateKey)));
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function nameOf(parts: readonly (readonly [string, string])[]): Buffer {
  return sequence(...parts.map(([type, value]) => set(sequence(oid(type), utf8(value)))));
}

function extension(id: string, value: Buffer, isCritical = false): Buffer {
  return sequence(oid(id), ...(isCritical ? [TRUE] : []), octets(value));
}

/** RFC 5280, 4.2.1.2: the SHA-1 of the public point, which ends the encoded key. */
function keyIdOf(publicKey: KeyObject): Buffer {
  const point = publicKey.export({ type: "spki", format: "der" }).subarray(-65);
  return createHash("sha1").update(point).digest();
}

/** Four bytes, or sixteen. */
function addressOf(ip: string): Buffer {
  if (isIPv4(ip)) return Buffer.from(ip.split(".").map(Number));
  const [head = "", tail] = ip.split("::");
  const groups = (text: string) => (text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16)));
  const [before, after] = [groups(head), groups(tail ?? "")];
  const zeros = Array<number>(8 - before.length - after.length).fill(0);
  return Buffer.from([...before, ...zeros, ...after].flatMap((group) => [group >> 8, group & 0xff]));
}
