import { describe, expect, it } from "vitest";
import type { LogReadOptions } from "../../../src/embedded/api/log-source.ts";
import { ContainerLog } from "../../../src/embedded/kubelet/container-log.ts";
import { formatTime } from "../../../src/embedded/kubelet/log-file.ts";

const base = BigInt(Date.UTC(2026, 10, 23, 10, 44, 33)) * 1_000_000n;
const ms = 1_000_000n;

function logAt(times: { now: bigint }, maxSize?: number): ContainerLog {
  return new ContainerLog({ now: () => times.now, ...(maxSize === undefined ? {} : { maxSize }) });
}

async function followed(log: ContainerLog, options: LogReadOptions = {}): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of log.read({ ...options, follow: true })) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

describe("ContainerLog", () => {
  it("gives every line a time of its own, in nanoseconds of fixed width", async () => {
    const log = logAt({ now: base });
    for (let i = 0; i < 3000; i++) log.append(`line ${i}\n`);
    const lines = (await log.text({ timestamps: true })).split("\n").slice(0, -1);
    expect(lines).toHaveLength(3000);
    expect(lines[0]).toBe("2026-11-23T10:44:33.000000000Z line 0");
    expect(lines[2999]).toBe("2026-11-23T10:44:33.000002999Z line 2999");
    expect(new Set(lines.map((line) => line.slice(0, 30))).size).toBe(3000);
    expect((await log.text()).split("\n").slice(0, 2)).toEqual(["line 0", "line 1"]);
  });

  it("keeps a line of 40 000 characters one line with one time, stored in parts", async () => {
    const log = logAt({ now: base });
    log.append("before\n");
    log.append("x".repeat(40_000));
    log.append("y\nafter\n");
    const text = await log.text({ timestamps: true });
    const lines = text.split("\n");
    expect(lines[1]).toBe(`2026-11-23T10:44:33.000000001Z ${"x".repeat(40_000)}y`);
    expect(lines[2]).toMatch(/^\S{30} after$/);
    // Three parts: the tail of the last two entries begins in the middle of the line, as the kubelet serves it.
    expect((await log.text({ tailLines: 2 })).length).toBe(40_000 - 2 * 16_384 + 1 + 1 + "after\n".length);
  });

  it("holds an unfinished line back until it ends or the container does, and then adds no newline", async () => {
    const log = logAt({ now: base });
    log.append("one\ntw");
    expect(await log.text()).toBe("one\n");
    log.append("o\nthree");
    expect(await log.text()).toBe("one\ntwo\n");
    log.close();
    expect(await log.text()).toBe("one\ntwo\nthree");
  });

  it("does not keep a reference to a buffer that the writer reuses", async () => {
    const log = logAt({ now: base });
    const buffer = Buffer.from("aaa");
    log.append(buffer);
    buffer.fill("b");
    log.append("\n");
    expect(await log.text()).toBe("aaa\n");
  });

  it("cuts sinceTime to whole seconds, and takes sinceSeconds as it is", async () => {
    const times = { now: base };
    const log = logAt(times);
    for (const offset of [0n, 243n, 745n, 1100n]) {
      times.now = base + offset * ms;
      log.append(`at ${offset}\n`);
    }
    expect(await log.text({ sinceTime: "2026-11-23T10:44:33.745Z" })).toBe("at 0\nat 243\nat 745\nat 1100\n");
    expect(await log.text({ sinceTime: "2026-11-23T10:44:34Z" })).toBe("at 1100\n");
    times.now = base + 1745n * ms;
    expect(await log.text({ sinceSeconds: 1 })).toBe("at 745\nat 1100\n");
    expect(await log.text({ sinceSeconds: 1, tailLines: 1 })).toBe("at 1100\n");
  });

  it("keeps equal times when they are given, and finds them", async () => {
    const log = logAt({ now: base });
    log.append("a\nb\n", base);
    log.append("c\n", base - 1000n * ms);
    log.append("d\n", base);
    expect(await log.text({ timestamps: true, sinceTime: new Date(Number(base / ms)) })).toBe(
      `${formatTime(base)} a\n${formatTime(base)} b\n${formatTime(base - 1000n * ms)} c\n${formatTime(base)} d\n`,
    );
    expect(await log.text({ sinceTime: new Date(Number(base / ms) + 1000) })).toBe("");
  });

  it("stops after limitBytes, in the middle of a line", async () => {
    const log = logAt({ now: base });
    log.append("0123456789\n0123456789\n");
    expect(await log.text({ limitBytes: 15 })).toBe("0123456789\n0123");
  });

  it("delivers what comes later to a follow, and ends it when the container does", async () => {
    const log = logAt({ now: base });
    log.append("early\n");
    const whole = followed(log);
    const tail = followed(log, { tailLines: 0 });
    await Promise.resolve();
    log.append("late\n");
    await new Promise((resolve) => setImmediate(resolve));
    log.append("last");
    log.close();
    expect(await whole).toBe("early\nlate\nlast");
    expect(await tail).toBe("late\nlast");
    expect(await followed(log)).toBe("early\nlate\nlast");
  });

  it("ends open follows cleanly while the container runs on, and serves later ones", async () => {
    const log = logAt({ now: base });
    log.append("one\n");
    const cut = followed(log);
    await new Promise((resolve) => setImmediate(resolve));
    log.endFollows();
    expect(await cut).toBe("one\n");
    const second = followed(log);
    await new Promise((resolve) => setImmediate(resolve));
    log.append("two\n");
    log.close();
    expect(await second).toBe("one\ntwo\n");
  });

  it("ends a follow whose signal aborts", async () => {
    const log = logAt({ now: base });
    const abort = new AbortController();
    const follow = followed(log, { signal: abort.signal });
    await new Promise((resolve) => setImmediate(resolve));
    abort.abort();
    expect(await follow).toBe("");
  });

  it("rotates: an open follow that keeps up gets everything, a later read only the current file", async () => {
    const log = logAt({ now: base }, 10_000);
    let received = 0;
    const reading = (async () => {
      for await (const chunk of log.read({ follow: true })) received += chunk.length;
    })();
    for (let i = 0; i < 39; i++) {
      log.append(`${"r".repeat(999)}\n`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    log.close();
    await reading;
    expect(received).toBe(39 * 1000);
    expect((await log.text()).length).toBeLessThan(10_000);
    log.rotate();
    expect(await log.text()).toBe("");
  });

  /** A follow that has reached the end of the first file, and then is not read until `meanwhile` is over. */
  async function blocked(log: ContainerLog, meanwhile: () => void): Promise<string[]> {
    log.append("first\n");
    const reader = log.read({ follow: true });
    const read = [Buffer.from((await reader.next()).value ?? []).toString()];
    const next = reader.next();
    await new Promise((resolve) => setImmediate(resolve));
    log.append("second\n");
    read.push(Buffer.from((await next).value ?? []).toString());
    meanwhile();
    for await (const chunk of reader) read.push(Buffer.from(chunk).toString());
    return read.join("").trim().split("\n");
  }

  it("a follow that was blocked over several rotations gets the newest file once for each, and the others never", async () => {
    const log = logAt({ now: base });
    const lines = await blocked(log, () => {
      log.append("third\n");
      log.rotate();
      log.append("lost\n");
      log.rotate();
      log.append("newest\n");
      setImmediate(() => setImmediate(() => log.close()));
    });
    expect(lines).toEqual(["first", "second", "third", "newest", "newest"]);
  });

  it("a follow whose file is rotated before it has reached its end is silent until the next rotation, as of a real kubelet", async () => {
    const log = logAt({ now: base });
    log.append("first\n");
    const reader = log.read({ follow: true });
    const read = [Buffer.from((await reader.next()).value ?? []).toString()];
    log.append("second\n");
    log.rotate();
    log.append("lost\n");
    read.push(Buffer.from((await reader.next()).value ?? []).toString());
    let isSilent = true;
    const next = reader.next().finally(() => {
      isSilent = false;
    });
    await new Promise((resolve) => setImmediate(resolve));
    log.append("lost, too\n");
    await new Promise((resolve) => setImmediate(resolve));
    expect(isSilent).toBe(true);
    log.rotate();
    log.append("newest\n");
    read.push(Buffer.from((await next).value ?? []).toString());
    expect(read).toEqual(["first\n", "second\n", "newest\n"]);
  });

  it("a follow ends with the old file when the container has ended before it looked at the new one", async () => {
    const log = logAt({ now: base });
    const lines = await blocked(log, () => {
      log.append("third\n");
      log.rotate();
      log.append("in the new file\n");
      log.close();
    });
    expect(lines).toEqual(["first", "second", "third"]);
    expect(await log.text()).toBe("in the new file\n");
  });

  it("serves a large log in bounded pieces", async () => {
    const log = logAt({ now: base });
    for (let i = 0; i < 5000; i++) log.append(`${"z".repeat(200)}\n`);
    for (const timestamps of [true, false]) {
      let bytes = 0;
      for await (const chunk of log.read({ timestamps })) {
        expect(chunk.length).toBeLessThan(70_000);
        bytes += chunk.length;
      }
      expect(bytes).toBe(5000 * (timestamps ? 232 : 201));
    }
  });
});
