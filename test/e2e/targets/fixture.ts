import { fileURLToPath } from "node:url";

/** The image with the fake `claude`. */
export const FIXTURE_IMAGE = "k8s-run-informer/fake-claude:e2e";

export const FIXTURE_DIRECTORY = fileURLToPath(new URL("../../fixtures/image", import.meta.url));
