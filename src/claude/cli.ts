/** `k8s-run-informer/cli`: for terminals that follow a run. */
export { printClaudeStreamEvent } from "./format-event.ts";
