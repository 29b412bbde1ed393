import { getContainerRuntimeClient } from "testcontainers";

export interface DockerEngine {
  readonly version: string;
  /** Where published ports are reached from here: not `localhost` where the suite runs in a container itself. */
  readonly host: string;
  /** The IPv4 address of that host: a port that is published there alone is on no other interface. */
  readonly address: string;
}

/** The Docker engine as testcontainers finds it (`DOCKER_HOST`, the socket, …). */
export async function dockerEngine(): Promise<DockerEngine | { missing: string }> {
  // Its own clean-up container needs an image of its own; the suite cleans up itself.
  process.env.TESTCONTAINERS_RYUK_DISABLED ??= "true";
  try {
    const { containerRuntime } = (await getContainerRuntimeClient()).info;
    const { serverVersion, host, hostIps } = containerRuntime;
    const address = hostIps.find(({ family }) => family === 4)?.address ?? "127.0.0.1";
    return { version: String(serverVersion), host, address };
  } catch (error) {
    return { missing: `no Docker engine answers (${error instanceof Error ? error.message : String(error)})` };
  }
}
