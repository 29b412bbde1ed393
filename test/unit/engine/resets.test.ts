import { expect, it } from "vitest";
import { Cluster } from "../../../src/engine/index.ts";
import { kubeConfigOf, NAMESPACE, startKubernetes } from "./harness.ts";

/** Node 24 loses about one reset in ten when it arrives while a busy HTTP/2 session writes; see `Http2Connection`. */
it("every stream of a connection that is reset under load ends, each time", async () => {
  const k8s = await startKubernetes({ delays: "fast" });
  k8s.addProgram("main", async function* (container) {
    for (;;) {
      await container.sleep(Math.random() * 20);
      yield "x".repeat(100 + Math.random() * 3_000);
    }
  });
  const names = Array.from({ length: 20 }, (_, index) => `pod-${index}`);
  for (const name of names) {
    k8s.objects.create("pods", {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: NAMESPACE },
      spec: { containers: [{ name: "main", image: "agent" }] },
    });
  }
  await k8s.objects.until(() =>
    k8s.objects.list("pods", NAMESPACE).every((pod) => (pod.status as { phase?: string }).phase === "Running"),
  );
  for (let round = 0; round < 30; round += 1) {
    const cluster = new Cluster({ kubeConfig: kubeConfigOf(k8s) });
    const query = { follow: true, container: "main", sinceSeconds: 1 };
    const streams = await Promise.all(
      names.map((name) => cluster.open({ path: `/api/v1/namespaces/${NAMESPACE}/pods/${name}/log`, query })),
    );
    let bytes = 0;
    const enough = Promise.withResolvers<void>();
    const ended = streams.map(async ({ body }) => {
      for await (const chunk of body) {
        bytes += (chunk as Uint8Array).byteLength;
        if (bytes > round * 20_000) enough.resolve();
      }
    });
    const outcomes = Promise.allSettled(ended);
    await enough.promise;
    k8s.faults.resetConnections();
    expect((await outcomes).map(({ status }) => status)).toEqual(names.map(() => "rejected"));
    await cluster.close();
  }
});
