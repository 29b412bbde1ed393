import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { Client } from "./http-client.ts";

const JOBS = "/apis/batch/v1/namespaces/ex/jobs";
const SUSPENDED = `${JOBS}/suspended`;

describe("what the API says of a Job's newer fields", () => {
  let k8s: EmbeddedKubernetes;
  let client: Client;

  beforeAll(async () => {
    k8s = await EmbeddedKubernetes.start({ namespaces: ["ex"], delays: "fast", timeScale: 20 });
    client = new Client(k8s);
    k8s.addProgram("main", async function* ({ sleep }) {
      yield "works";
      await sleep(1e9, { interruptible: true });
    });
  });
  afterAll(async () => {
    client.close();
    await k8s.stop();
  });

  async function causes(container: object, jobSpec: object = {}, podSpec: object = {}): Promise<string[]> {
    const { json } = await client.call({
      method: "POST",
      path: `${JOBS}?dryRun=All`,
      body: {
        metadata: { name: "j" },
        spec: {
          ...jobSpec,
          template: {
            spec: { restartPolicy: "Never", containers: [{ name: "main", image: "a:1", ...container }], ...podSpec },
          },
        },
      },
    });
    return (json.details?.causes ?? []).map(({ field }: { field: string }) => field.replace("spec.template.spec.", ""));
  }

  const rule = (values: number[], more: object = {}) => ({
    action: "Restart",
    exitCodes: { operator: "In", values },
    ...more,
  });

  it.each([
    ["rules without a policy", { restartPolicyRules: [rule([1])] }, ["containers[0].restartPolicy"]],
    ["a policy that is none", { restartPolicy: "Sometimes" }, ["containers[0].restartPolicy"]],
    [
      "an action that is none",
      { restartPolicy: "Never", restartPolicyRules: [rule([1], { action: "Reboot" })] },
      ["containers[0].restartPolicyRules[0].action"],
    ],
    [
      "a rule without codes",
      { restartPolicy: "Never", restartPolicyRules: [rule([])] },
      ["containers[0].restartPolicyRules[0].exitCodes.values"],
    ],
    [
      "more than 20 rules",
      { restartPolicy: "Never", restartPolicyRules: Array.from({ length: 21 }, (_, i) => rule([i])) },
      ["containers[0].restartPolicyRules"],
    ],
    ["rules that are right", { restartPolicy: "Never", restartPolicyRules: [rule([42])] }, []],
  ])("%s", async (_what, container, fields) => {
    expect(await causes(container)).toEqual(fields);
  });

  it.each([
    ["with OnFailure", [rule2("Ignore", [1])], { restartPolicy: "OnFailure" }, ["restartPolicy"]],
    ["with 0 among the codes", [rule2("FailJob", [0])], {}, ["spec.podFailurePolicy.rules[0].onExitCodes.values[0]"]],
    ["with neither codes nor conditions", [{ action: "Count" }], {}, ["spec.podFailurePolicy.rules[0]"]],
    [
      "for a container that is none",
      [rule2("Count", [1], { containerName: "x" })],
      {},
      ["spec.podFailurePolicy.rules[0].onExitCodes.containerName"],
    ],
    ["that is right", [rule2("FailJob", [42], { containerName: "main" })], {}, []],
  ])("a podFailurePolicy %s", async (_what, rules, podSpec, fields) => {
    expect(await causes({}, { podFailurePolicy: { rules } }, podSpec)).toEqual(fields);
  });

  function rule2(action: string, values: number[], more: object = {}) {
    return { action, onExitCodes: { operator: "In", values, ...more } };
  }

  it("a deadline of 0 and a manager without a domain", async () => {
    expect(await causes({}, { managedBy: "kueue" }, { activeDeadlineSeconds: 0 })).toEqual([
      "activeDeadlineSeconds",
      "spec.managedBy",
    ]);
  });

  it("a queue admits a suspended Job to a node, preempts it, and admits it again elsewhere", async () => {
    const patch = (spec: object) =>
      client.call({
        method: "PATCH",
        path: SUSPENDED,
        headers: { "content-type": "application/merge-patch+json" },
        body: { spec },
      });
    const on = (pool: string) => ({ template: { spec: { nodeSelector: { pool } } } });
    k8s.nodes.add({ name: "a", labels: { pool: "a" } });
    k8s.nodes.add({ name: "b", labels: { pool: "b" } });
    await client.call({
      method: "POST",
      path: JOBS,
      body: {
        metadata: { name: "suspended" },
        spec: {
          suspend: true,
          backoffLimit: 0,
          template: { spec: { restartPolicy: "Never", containers: [{ name: "main", image: "a:1" }] } },
        },
      },
    });
    const condition = () => {
      const { conditions = [] } = (k8s.objects.get("jobs", "ex", "suspended")?.status ?? {}) as {
        conditions?: { type: string; status: string }[];
      };
      return conditions.find(({ type }) => type === "Suspended")?.status;
    };
    const podOn = (node: string) =>
      k8s.objects.until(() =>
        k8s.objects
          .list("pods", "ex")
          .find(
            ({ spec, status }) =>
              (spec as { nodeName?: string }).nodeName === node && (status as { phase?: string }).phase === "Running",
          ),
      );
    await k8s.objects.until(() => condition() === "True");
    expect(k8s.objects.list("pods", "ex")).toEqual([]);
    expect((await patch(on("a"))).status).toBe(200);
    expect((await patch({ suspend: false })).status).toBe(200);
    await podOn("a");
    expect((await patch(on("b"))).json.details.causes[0].field).toBe("spec.template");
    await patch({ suspend: true });
    await k8s.objects.until(() => condition() === "True" && k8s.objects.list("pods", "ex").length === 0);
    expect(k8s.objects.get("jobs", "ex", "suspended")?.status).not.toHaveProperty("failed");
    expect((await patch(on("b"))).status).toBe(200);
    await patch({ suspend: false });
    await podOn("b");
  });
});
