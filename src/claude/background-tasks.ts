import { field, type JsonObject, word } from "../json/read-json.ts";

const MAX_TASKS = 1000;

/**
 * Work that the CLI says goes on beside the conversation. It waits for it after its result, and may go on with what comes of
 * it; it ends what takes longer than its own ceiling (10 min by default).
 */
export class BackgroundTasks {
  #running = new Set<string>();

  /** True while there is such work. */
  get isRunning(): boolean {
    return this.#running.size > 0;
  }

  /** A `system` event; those that are not about tasks are left alone. */
  read(event: JsonObject): void {
    const subtype = field(event, "subtype");
    if (subtype === "background_tasks_changed") this.#replace(field(event, "tasks"));
    const ended = subtype === "task_notification" ? word(field(event, "task_id")) : null;
    if (ended !== null) this.#running.delete(ended);
  }

  /** The event has every task that runs: the whole set, each time. */
  #replace(tasks: unknown): void {
    const waitedFor = (Array.isArray(tasks) ? tasks : [])
      .slice(0, MAX_TASKS)
      .filter((task) => field(task, "ambient") !== true && field(task, "off_host") !== true);
    this.#running = new Set(waitedFor.map((task) => word(field(task, "task_id"))).filter((id) => id !== null));
  }
}
