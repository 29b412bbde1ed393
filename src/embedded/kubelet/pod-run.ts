import { SleepAbortedError } from "../clock.ts";
import { randomHex } from "../random-hex.ts";
import { ContainerStarter, type StartProblem } from "./container-starter.ts";
import { MissingConfigError, PodVolumes } from "./pod-environment.ts";
import type { ContainerRecord, PodState } from "./pod-state.ts";
import { actionAfterExit, actionAfterInitExit } from "./restart-policy.ts";

const maxBackoffMs = 300_000;

/** The containers of a pod are all started again: what waits for one of the old ones gives up. */
class RestartAllError extends SleepAbortedError {}

/** One pass from the first init container to the last container's end. */
class Pass {
  readonly #restartAll = Promise.withResolvers<void>();
  isOver = false;

  /** Resolves when an exit asks for a restart of all containers. */
  get restartAll(): Promise<void> {
    return this.#restartAll.promise;
  }

  end(): void {
    this.isOver = true;
    this.#restartAll.resolve();
  }

  /** @throws RestartAllError when the pass is over. */
  check(): void {
    if (this.isOver) throw new RestartAllError("All containers of the pod are restarted");
  }
}

/** Starts a pod's containers in order, and restarts what has to be restarted, until all main containers have ended. */
export class PodRun {
  readonly #state: PodState;
  readonly #starter: ContainerStarter;
  readonly #onStart: () => void;
  #volumes: PodVolumes | null = null;

  /** `onStart`: called when the pod has its start time, from which its own deadline counts. */
  constructor(state: PodState, onStart: () => void) {
    this.#state = state;
    this.#onStart = onStart;
    this.#starter = new ContainerStarter(state.host);
  }

  /** Resolves when nothing is left to run; rejects with SleepAbortedError when the pod is stopped. */
  async run(): Promise<void> {
    const { delays } = this.#state.host.options;
    await this.#state.wait(delays.podSync);
    this.#state.view.startTime = this.#state.host.timestamp();
    this.#onStart();
    this.#state.publish();
    await this.#mountVolumes();
    await this.#state.wait(delays.sandbox);
    this.#state.view.sandboxReady = true;
    this.#state.publish();
    await this.#state.wait(delays.containerStart);
    for (;;) {
      const pass = new Pass();
      const all = this.#runAll(pass);
      // After a restart of all containers its waits end with an error, which is not the pod's.
      all.catch(() => {});
      await Promise.race([all, pass.restartAll]);
      if (!pass.isOver) return;
      await this.#stopAll();
    }
  }

  async #runAll(pass: Pass): Promise<void> {
    const { delays } = this.#state.host.options;
    for (const record of this.#state.records) {
      if (record.kind === "main") break;
      await this.#startContainer(record, pass);
      if (record.kind === "sidecar") void this.#state.guard(() => this.#keepRunning(record, pass));
      else if (!(await this.#runToEnd(record, pass))) return;
      await this.#state.wait(delays.nextContainerStart);
      pass.check();
    }
    const mains = this.#state.records.filter(({ kind }) => kind === "main");
    await Promise.all(
      mains.map(async (record) => {
        await this.#startContainer(record, pass);
        await this.#runToEnd(record, pass);
      }),
    );
  }

  /** KEP-5532: all containers are killed without their grace; those that had been started count one restart more. */
  async #stopAll(): Promise<void> {
    const { delays } = this.#state.host.options;
    const { records, view } = this.#state;
    view.restartsAll = true;
    this.#state.publish();
    for (const { running } of records) running?.kill();
    await Promise.all(records.map((record) => this.#state.ended(record, delays.killNoticed)));
    const reason = records.some(({ kind }) => kind !== "main") ? "PodInitializing" : "ContainerCreating";
    for (const record of records) {
      if (record.state.terminated !== undefined) record.lastState = record.state;
      record.state = { waiting: { reason } };
      if (record.log === null) continue;
      record.restartCount++;
      record.previousLog = record.log;
      record.log = null;
    }
    await this.#state.wait(delays.nextContainerStart);
    view.restartsAll = false;
    this.#state.publish();
    await this.#state.wait(delays.containerStart);
  }

  /** Waits for the end of a started container, restarting it as the policies say. @returns whether it succeeded. */
  async #runToEnd(record: ContainerRecord, pass: Pass): Promise<boolean> {
    const actionAfter = record.kind === "init" ? actionAfterInitExit : actionAfterExit;
    for (;;) {
      const exitCode = await this.#state.ended(record);
      pass.check();
      // Whoever stops the pod says how its containers ended.
      if (this.#state.stopping.signal.aborted) throw new SleepAbortedError("The pod is being stopped");
      this.#state.publish();
      const action = actionAfter(this.#state.pod.spec, record.spec, exitCode);
      if (action === "restart-all") this.#restartAll(pass);
      if (action === "none") return exitCode === 0;
      await this.#restart(record, pass);
    }
  }

  async #keepRunning(sidecar: ContainerRecord, pass: Pass): Promise<void> {
    for (;;) {
      const exitCode = await this.#state.ended(sidecar);
      pass.check();
      this.#state.publish();
      if (this.#state.stopping.signal.aborted) return;
      if (actionAfterExit(this.#state.pod.spec, sidecar.spec, exitCode) === "restart-all") this.#restartAll(pass);
      await this.#restart(sidecar, pass);
    }
  }

  #restartAll(pass: Pass): never {
    pass.end();
    throw new RestartAllError("A container's exit restarts all containers of the pod");
  }

  async #restart(record: ContainerRecord, pass: Pass): Promise<void> {
    const { delays } = this.#state.host.options;
    const wait = record.restartDelay;
    record.restartDelay = wait === 0 ? delays.crashBackoff : Math.min(wait * 2, maxBackoffMs);
    if (wait === 0) await this.#state.wait(delays.nextContainerStart);
    else await this.#backOff(record, wait, pass);
    pass.check();
    if (record.state.terminated !== undefined) record.lastState = record.state;
    record.restartCount++;
    record.previousLog = record.log;
    record.log = null;
    await this.#startContainer(record, pass);
  }

  /**
   * The kubelet looks at the pod again every 10 to 15 s (`backOffPeriod` with jitter), and only then says that it holds the
   * container back: until then the status shows how it ended. That look also starts it, if the back-off is over.
   */
  async #backOff(record: ContainerRecord, backoffMs: number, pass: Pass): Promise<void> {
    const { clock, delays } = this.#state.host.options;
    const { name, namespace, uid } = this.#state.pod.metadata;
    const podText = `${name}_${namespace}(${uid})`;
    const text = `Back-off restarting failed container ${record.spec.name} in pod ${podText}`;
    this.#state.say("Warning", "BackOff", text, `spec.containers{${record.spec.name}}`);
    const over = record.endedAt + backoffMs;
    do {
      await this.#state.wait(delays.podResync);
      pass.check();
      if (record.state.terminated !== undefined) record.lastState = record.state;
      const message = `back-off ${formatSeconds(backoffMs)} restarting failed container=${record.spec.name} pod=${podText}`;
      record.state = { waiting: { reason: "CrashLoopBackOff", message } };
      this.#state.publish();
    } while (clock.now() < over);
    await this.#state.wait(delays.nextContainerStart);
  }

  /**
   * Starts a container, however long image and configuration keep it from starting. What a try ran into is published at the
   * kubelet's next look at the pod, just before that look's own try: that is how the real one comes to alternate between
   * `ErrImagePull` and `ImagePullBackOff`.
   */
  async #startContainer(record: ContainerRecord, pass: Pass): Promise<void> {
    const { delays } = this.#state.host.options;
    let wait = delays.startErrorNoticed;
    for (;;) {
      pass.check();
      const problem = this.#tryStart(record);
      if (problem === null) break;
      await this.#state.wait(wait);
      record.state = { waiting: problem };
      this.#state.assignAddress();
      this.#state.publish();
      wait = delays.podResync;
    }
    const noticed = this.#state.host.delay("startNoticed");
    if (noticed > 0) await this.#state.wait(noticed);
    this.#state.assignAddress();
    this.#state.publish();
  }

  #tryStart(record: ContainerRecord): StartProblem | null {
    if (this.#volumes === null) throw new Error("containers are started after the pod's volumes are mounted");
    const log = this.#state.host.createLog();
    const outcome = this.#starter.start(this.#state.pod, record.spec, record.restartCount, this.#volumes, log);
    if ("problem" in outcome) return outcome.problem;
    record.containerID = randomHex(64);
    record.log = log;
    if ("failed" in outcome) {
      log.close();
      record.endedAt = this.#state.host.options.clock.now();
      const { exitCode, reason, message, startedAt } = outcome.failed;
      record.state = {
        terminated: {
          exitCode,
          reason,
          message,
          startedAt,
          finishedAt: this.#state.host.timestamp(),
          containerID: `containerd://${record.containerID}`,
        },
      };
      return null;
    }
    record.running = outcome.running;
    record.files = outcome.files;
    record.state = { running: { startedAt: this.#state.host.timestamp() } };
    return null;
  }

  async #mountVolumes(): Promise<void> {
    const { store, claims, delays } = this.#state.host.options;
    for (let wait = delays.mountBackoff; ; wait = Math.min(wait * 2, 122_000)) {
      try {
        this.#volumes = new PodVolumes(store, this.#state.pod, claims);
        return;
      } catch (error) {
        if (!(error instanceof MissingConfigError)) throw error;
        this.#state.say("Warning", "FailedMount", error.message);
        await this.#state.wait(wait);
      }
    }
  }
}

function formatSeconds(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return ms < 1000 ? `${ms}ms` : `${seconds}s`;
  return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
