import { fileURLToPath } from "node:url";

/** The image with the fake `claude`. */
export const FIXTURE_IMAGE = "k8s-run-informer/fake-claude:e2e";
/** What the adapter's init container runs in: the fixture image is a busybox too, so no cluster has to pull this one. */
export const INIT_IMAGE = "busybox:1.36";

export const FIXTURE_DIRECTORY = fileURLToPath(new URL("../../fixtures/image", import.meta.url));
