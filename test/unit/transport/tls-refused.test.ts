import { once } from "node:events";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { KubeConfig } from "@kubernetes/client-node";
import { afterEach, expect, test } from "vitest";
import { Cluster } from "../../../src/engine/transport/index.ts";
import { base64, kubeConfigObject, serverCertificate } from "./api-server.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function clusterAt(port: number): Promise<Cluster> {
  const { cert } = await serverCertificate();
  const kubeConfig = new KubeConfig();
  const at = { server: `https://127.0.0.1:${port}`, "certificate-authority-data": base64(cert) };
  kubeConfig.loadFromString(JSON.stringify(kubeConfigObject(at, { token: "a" })));
  const cluster = new Cluster({ kubeConfig, retry: { maxAttempts: 1 } });
  cleanups.push(() => cluster.close());
  return cluster;
}

test("a server that wants another client certificate says so after the handshake (TLS 1.3): told at once", async () => {
  const { cert, key } = await serverCertificate();
  const server = http2.createSecureServer({ cert, key, requestCert: true, rejectUnauthorized: true });
  server.on("sessionError", () => {});
  server.listen(0, "127.0.0.1");
  cleanups.push(() => server.close());
  await once(server, "listening");
  const cluster = await clusterAt((server.address() as AddressInfo).port);
  const start = performance.now();
  await expect(cluster.json({ path: "/api" })).rejects.toMatchObject({ reason: "TlsError" });
  expect(performance.now() - start).toBeLessThan(5_000);
});
