/**
 * Parses the time in front of each line of a log read with `timestamps=true`, from bytes and without allocating.
 *
 * The kubelet writes nine digits of fraction and the node's own offset (`Z` or `+02:00`); older runtimes trim zeros.
 * Nanoseconds since 1970 do not fit into a double, hence whole seconds and nanoseconds apart.
 */
export class TimestampParser {
  /** Seconds since 1970 of the last time parsed. */
  seconds = 0;
  nanos = 0;
  #day = -1;
  #daySeconds = 0;

  /**
   * Parses the time at `start` of a line that ends at `end`. Returns where the time ends (the blank, or `end` when
   * nothing follows it), or -1 when no time stands there.
   */
  parse(line: Buffer, start: number, end: number): number {
    // 2026-11-23T11:21:21Z is the shortest form.
    if (end - start < 20) return -1;
    const year = digits(line, start, 4);
    const month = digits(line, start + 5, 2);
    const date = digits(line, start + 8, 2);
    const hour = digits(line, start + 11, 2);
    const minute = digits(line, start + 14, 2);
    const second = digits(line, start + 17, 2);
    if (
      year < 0 ||
      month < 1 ||
      month > 12 ||
      date < 1 ||
      date > 31 ||
      hour < 0 ||
      minute < 0 ||
      second < 0 ||
      line[start + 4] !== DASH ||
      line[start + 7] !== DASH ||
      line[start + 10] !== LETTER_T ||
      line[start + 13] !== COLON ||
      line[start + 16] !== COLON
    ) {
      return -1;
    }
    let at = start + 19;
    let nanos = 0;
    if (line[at] === DOT) {
      let scale = 100_000_000;
      const first = ++at;
      for (; at < end && isDigit(line[at]); at++) {
        nanos += ((line[at] as number) - ZERO) * Math.floor(scale);
        scale /= 10;
      }
      if (at === first || at - first > 9) return -1;
    }
    let offset = 0;
    const zone = line[at];
    if (zone === LETTER_Z) {
      at += 1;
    } else if (zone === PLUS || zone === DASH) {
      const hours = digits(line, at + 1, 2);
      const minutes = digits(line, at + 4, 2);
      if (at + 6 > end || hours < 0 || minutes < 0 || line[at + 3] !== COLON) return -1;
      offset = (hours * 60 + minutes) * (zone === PLUS ? 60 : -60);
      at += 6;
    } else {
      return -1;
    }
    if (at < end && line[at] !== BLANK) return -1;

    const day = (year * 16 + month) * 32 + date;
    if (day !== this.#day) {
      this.#day = day;
      this.#daySeconds = Date.UTC(year, month - 1, date) / 1000;
    }
    this.seconds = this.#daySeconds + hour * 3600 + minute * 60 + second - offset;
    this.nanos = nanos;
    return at;
  }
}

const ZERO = 0x30;
const DASH = 0x2d;
const PLUS = 0x2b;
const COLON = 0x3a;
const DOT = 0x2e;
const BLANK = 0x20;
const LETTER_T = 0x54;
const LETTER_Z = 0x5a;

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= ZERO + 9;
}

function digits(line: Buffer, at: number, count: number): number {
  let value = 0;
  for (let i = at; i < at + count; i++) {
    const byte = line[i];
    if (byte === undefined || byte < ZERO || byte > ZERO + 9) return -1;
    value = value * 10 + byte - ZERO;
  }
  return value;
}

/** Of a pod's time, cut to the second. NaN: it says none. */
export function secondsOf(time: string | null): number {
  return time === null ? Number.NaN : Date.parse(time) / 1000;
}
