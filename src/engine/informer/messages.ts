import { type Kinds, messageTable } from "../transport/index.ts";

/**
 * What `trim.ts` keeps of Jobs and pods, by the field numbers of `generated.proto` in k8s.io/api and k8s.io/apimachinery. A field
 * that `trim.ts` begins to read has to be added here; a test compares both on recorded frames.
 */

const OWNER = messageTable({
  1: ["kind", "text"],
  3: ["name", "text"],
  4: ["uid", "text"],
  5: ["apiVersion", "text"],
  6: ["controller", "flag"],
});

const METADATA = messageTable({
  1: ["name", "text"],
  3: ["namespace", "text"],
  5: ["uid", "text"],
  6: ["resourceVersion", "text"],
  8: ["creationTimestamp", "time"],
  9: ["deletionTimestamp", "time"],
  10: ["deletionGracePeriodSeconds", "integer"],
  11: ["labels", "map"],
  12: ["annotations", "map"],
  13: ["ownerReferences", [OWNER]],
});

const POD_CONDITION = messageTable({
  1: ["type", "text"],
  2: ["status", "text"],
  5: ["reason", "text"],
  6: ["message", "text"],
});

/** The same numbers, by chance. */
const JOB_CONDITION = POD_CONDITION;

const RESTART_RULE = messageTable({
  1: ["action", "text"],
  2: ["exitCodes", messageTable({ 1: ["operator", "text"], 2: ["values", "integers"] })],
});

const CONTAINER = messageTable({
  1: ["name", "text"],
  24: ["restartPolicy", "text"],
  25: ["restartPolicyRules", [RESTART_RULE]],
});

const POD_SPEC = messageTable({
  2: ["containers", [CONTAINER]],
  3: ["restartPolicy", "text"],
  4: ["terminationGracePeriodSeconds", "integer"],
  10: ["nodeName", "text"],
  20: ["initContainers", [CONTAINER]],
});

const CONTAINER_STATE = messageTable({
  1: ["waiting", messageTable({ 1: ["reason", "text"], 2: ["message", "text"] })],
  2: ["running", messageTable({ 1: ["startedAt", "time"] })],
  3: [
    "terminated",
    messageTable({
      1: ["exitCode", "integer"],
      2: ["signal", "count"],
      3: ["reason", "text"],
      4: ["message", "text"],
      5: ["startedAt", "time"],
      6: ["finishedAt", "time"],
    }),
  ],
});

const CONTAINER_STATUS = messageTable({
  1: ["name", "text"],
  2: ["state", CONTAINER_STATE],
  3: ["lastState", CONTAINER_STATE],
  5: ["restartCount", "integer"],
  9: ["started", "flag"],
});

const POD = messageTable({
  1: ["metadata", METADATA],
  2: ["spec", POD_SPEC],
  3: [
    "status",
    messageTable({
      1: ["phase", "text"],
      2: ["conditions", [POD_CONDITION]],
      3: ["message", "text"],
      4: ["reason", "text"],
      8: ["containerStatuses", [CONTAINER_STATUS]],
      10: ["initContainerStatuses", [CONTAINER_STATUS]],
    }),
  ],
});

const JOB = messageTable({
  1: ["metadata", METADATA],
  2: [
    "spec",
    messageTable({
      1: ["parallelism", "integer"],
      2: ["completions", "integer"],
      3: ["activeDeadlineSeconds", "integer"],
      6: ["template", messageTable({ 2: ["spec", POD_SPEC] })],
      7: ["backoffLimit", "integer"],
      10: ["suspend", "flag"],
      // Only whether it is there.
      11: ["podFailurePolicy", messageTable({})],
      15: ["managedBy", "text"],
    }),
  ],
  3: [
    "status",
    messageTable({
      1: ["conditions", [JOB_CONDITION]],
      2: ["startTime", "time"],
      4: ["active", "count"],
      5: ["succeeded", "count"],
      6: ["failed", "count"],
      11: ["terminating", "integer"],
    }),
  ],
});

const LIST_METADATA = messageTable({ 2: ["resourceVersion", "text"], 3: ["continue", "text"] });

export const POD_KINDS: Kinds = {
  Pod: POD,
  PodList: messageTable({ 1: ["metadata", LIST_METADATA], 2: ["items", [POD]] }),
};

export const JOB_KINDS: Kinds = {
  Job: JOB,
  JobList: messageTable({ 1: ["metadata", LIST_METADATA], 2: ["items", [JOB]] }),
};
