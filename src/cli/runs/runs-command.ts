import { groupCommand } from "../command.ts";
import { gcCommand } from "./gc.ts";
import { listCommand } from "./list.ts";
import { showCommand } from "./show.ts";
import { stopCommand } from "./stop.ts";

export const runsCommand = groupCommand("runs", "list, show, stop runs, and delete what is left of them", [
  listCommand,
  showCommand,
  stopCommand,
  gcCommand,
]);
