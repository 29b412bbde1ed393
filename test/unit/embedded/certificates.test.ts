import { createPrivateKey, X509Certificate } from "node:crypto";
import { expect, it } from "vitest";
import { CertificateAuthority } from "../../../src/embedded/api/certificates.ts";

const authority = new CertificateAuthority();
const ca = new X509Certificate(authority.cert);

it("the authority signs itself, and may sign others", () => {
  expect(ca.ca).toBe(true);
  expect(ca.verify(ca.publicKey)).toBe(true);
  expect(ca.subject).toBe("CN=kubernetes");
});

it("a server's certificate is for its names and addresses, and for nothing else", () => {
  const { cert, key } = authority.server({ dns: ["localhost"], ips: ["127.0.0.1", "::1", "fd00:10:96::a"] });
  const server = new X509Certificate(cert);
  expect(server.checkIssued(ca)).toBe(true);
  expect(server.verify(ca.publicKey)).toBe(true);
  expect(server.ca).toBe(false);
  expect(server.checkPrivateKey(createPrivateKey(key))).toBe(true);
  expect(server.checkHost("localhost")).toBe("localhost");
  expect(server.checkHost("example.com")).toBeUndefined();
  for (const ip of ["127.0.0.1", "::1", "fd00:10:96::a"]) expect(server.checkIP(ip), ip).toBe(ip);
  expect(server.checkIP("127.0.0.2")).toBeUndefined();
  expect(server.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
});

it("a client's certificate names its user and groups; it begins yesterday and ends after 2035", () => {
  const client = new X509Certificate(authority.client("zoë", ["system:masters", "x".repeat(200)]).cert);
  expect(client.checkIssued(ca)).toBe(true);
  expect(client.toLegacyObject().subject).toMatchObject({ CN: "zoë", O: ["system:masters", "x".repeat(200)] });
  expect(client.validFromDate.getTime()).toBeLessThan(Date.now() - 86_000_000);
  expect(client.validToDate.getTime()).toBeGreaterThan(Date.now() + 9 * 365 * 86_400_000);
});
