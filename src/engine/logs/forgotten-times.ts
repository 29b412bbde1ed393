import { compare, type Time } from "./replay.ts";

/**
 * Times of delivered lines that are too many to be remembered one by one, for one question: was a line of this time delivered? It
 * is asked where a read steps back in time, and a wrong yes, less than one in a hundred, costs a line then. Bloom filters, of which each new
 * one is larger: 12 bits a time. The last two are kept, at most 512 KiB, which is 300 000 lines and more.
 */
export class ForgottenTimes {
  #filters: Filter[] = [];
  /** Every so many-th of these times, to tell what came before one of them. */
  #samples: Time[] = [];
  #stride = SAMPLE_STRIDE;
  #count = 0;

  add(time: Time): void {
    let filter = this.#filters.at(-1);
    if (filter === undefined || filter.isFull) {
      filter = new Filter(filter === undefined ? FIRST_BYTES : Math.min(MAX_BYTES, filter.bytes * 4));
      this.#filters = [...this.#filters.slice(-1), filter];
    }
    filter.add(time);
    if (this.#count++ % this.#stride !== 0) return;
    this.#samples.push(time);
    if (this.#samples.length < MAX_SAMPLES) return;
    this.#samples = this.#samples.filter((_, index) => index % 2 === 0);
    this.#stride *= 2;
  }

  has(seconds: number, nanos: number): boolean {
    return this.#filters.some((filter) => filter.has({ seconds, nanos }));
  }

  /** A delivered time before `time`, not long before it; null: none is known. */
  before(time: Time): Time | null {
    return this.#samples.findLast((sample) => compare(sample, time) < 0) ?? null;
  }
}

const FIRST_BYTES = 8 * 1024;
const MAX_BYTES = 256 * 1024;
const BITS_A_TIME = 12;
const SAMPLE_STRIDE = 64;
const MAX_SAMPLES = 1024;

class Filter {
  readonly #bits: Uint8Array;
  #left: number;

  constructor(bytes: number) {
    this.#bits = new Uint8Array(bytes);
    this.#left = Math.floor((bytes * 8) / BITS_A_TIME);
  }

  get bytes(): number {
    return this.#bits.length;
  }

  get isFull(): boolean {
    return this.#left === 0;
  }

  add(time: Time): void {
    this.#left--;
    const first = firstHash(time);
    const step = stepHash(first, time);
    for (let i = 0, hash = first; i < PLACES; i++, hash += step) {
      const at = this.#byteOf(hash);
      this.#bits[at] = (this.#bits[at] as number) | (1 << (hash & 7));
    }
  }

  has(time: Time): boolean {
    const first = firstHash(time);
    const step = stepHash(first, time);
    for (let i = 0, hash = first; i < PLACES; i++, hash += step) {
      if (((this.#bits[this.#byteOf(hash)] as number) & (1 << (hash & 7))) === 0) return false;
    }
    return true;
  }

  /** The size is a power of two. */
  #byteOf(hash: number): number {
    return (hash >>> 3) & (this.#bits.length - 1);
  }
}

const PLACES = 6;

function firstHash({ seconds, nanos }: Time): number {
  return mixed(nanos ^ Math.imul(seconds, 0x9e3779b1));
}

function stepHash(first: number, { seconds }: Time): number {
  return mixed(first ^ seconds) | 1;
}

/** Spreads a number over 32 bits (the finalizer of MurmurHash3). */
function mixed(value: number): number {
  const first = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  const second = Math.imul(first ^ (first >>> 13), 0xc2b2ae35);
  return (second ^ (second >>> 16)) >>> 0;
}
