import { InvalidArgumentError } from "commander";
import { isDnsLabel } from "../kubernetes-names.ts";
import { defineCommand } from "./command.ts";

interface RbacOptions {
  namespace: string;
  serviceAccount: string;
  serverNamespace?: string;
  shards: boolean;
}

export const rbacCommand = defineCommand<RbacOptions>({
  name: "rbac",
  summary: "print the roles that the adapter needs, for kubectl apply -f -",
  configure: (command) =>
    command
      .requiredOption("-n, --namespace <name>", "namespace of the Jobs", dnsName)
      .requiredOption("--service-account <name>", "service account of the server", dnsName)
      .option("--server-namespace <name>", "namespace of the server (default: that of the Jobs)", dnsName)
      .option("--shards", "for servers that share the namespace in shards", false),
  async action({ namespace, serviceAccount, serverNamespace = namespace, shards }, io) {
    const { rolesFor } = await import("../adapter/check/roles.ts");
    const { dumpYaml } = await import("@kubernetes/client-node");
    const objects = rolesFor({ namespace, serviceAccount, serverNamespace, isShard: shards });
    io.stdout.write(objects.map((each) => dumpYaml(each, { lineWidth: 120, noRefs: true })).join("---\n"));
    return 0;
  },
});

function dnsName(text: string): string {
  if (isDnsLabel(text)) return text;
  throw new InvalidArgumentError(`got ${JSON.stringify(text)}; give a name of lower-case letters, digits and dashes`);
}
