import { getContainerRuntimeClient } from "testcontainers";

/** The Docker engine as testcontainers finds it (`DOCKER_HOST`, the socket, …). */
export async function dockerEngine(): Promise<{ version: string } | { missing: string }> {
  // Its own clean-up container needs an image of its own; the suite cleans up itself.
  process.env.TESTCONTAINERS_RYUK_DISABLED ??= "true";
  try {
    const { info } = await getContainerRuntimeClient();
    return { version: String(info.containerRuntime.serverVersion) };
  } catch (error) {
    return { missing: `no Docker engine answers (${error instanceof Error ? error.message : String(error)})` };
  }
}
