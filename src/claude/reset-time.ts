/**
 * When a limit of the provider ends, from the CLI's words: `resets 3pm (Europe/Berlin)`, `resets at 15:30 (UTC)`,
 * `resets Oct 9 at 5am (UTC)`, or `limit reached|1760000000` of older ones. A clock time is its next occurrence.
 *
 * @returns null when the text says no time; a time without a zone is taken in the server's
 */
export function resetTime(text: string, now: Date): Date | null {
  const epoch = /limit reached\|(\d{10})\b/i.exec(text);
  if (epoch) return new Date(Number(epoch[1]) * 1000);
  const match = RESETS.exec(text);
  if (!match) return null;
  const { month, day, hour, minute, half, zone } = match.groups ?? {};
  const time = clockTime(hour, minute, half);
  if (time === null) return null;
  const timeZone = knownZone(zone) ?? knownZone(new Intl.DateTimeFormat().resolvedOptions().timeZone) ?? "UTC";
  const today = wallClock(now, timeZone);
  if (month !== undefined && day !== undefined) {
    const monthIndex = MONTHS.indexOf(month.slice(0, 3).toLowerCase());
    const at = (year: number) => instant({ year, month: monthIndex + 1, day: Number(day), ...time }, timeZone);
    const thisYear = at(today.year);
    // A date of the past is of the year to come, unless it is only just over: then the limit has already ended.
    return now.getTime() - thisYear.getTime() > HALF_A_YEAR ? at(today.year + 1) : thisYear;
  }
  const next = instant({ ...today, ...time }, timeZone);
  return next > now ? next : instant({ ...today, day: today.day + 1, ...time }, timeZone);
}

const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const HALF_A_YEAR = 183 * 24 * 3600 * 1000;
const RESETS = new RegExp(
  String.raw`\bresets?\s+(?:at\s+|on\s+)?(?:(?<month>${MONTHS.join("|")})[a-z]*\.?\s+(?<day>\d{1,2})(?:,|\s+at)?\s+)?` +
    String.raw`(?<hour>\d{1,2})(?::(?<minute>\d{2}))?\s*(?<half>[ap]\.?\s?m\b\.?)?(?:\s*\((?<zone>[^)]{1,64})\))?`,
  "i",
);

function clockTime(
  hour: string | undefined,
  minute: string | undefined,
  half: string | undefined,
): { hour: number; minute: number } | null {
  // "resets 3" alone is no time of day.
  if (hour === undefined || (half === undefined && minute === undefined)) return null;
  const minutes = Number(minute ?? 0);
  const hours = Number(hour);
  if (minutes > 59) return null;
  if (half === undefined) return hours <= 23 ? { hour: hours, minute: minutes } : null;
  if (hours < 1 || hours > 12) return null;
  return { hour: (hours % 12) + (half.toLowerCase().startsWith("p") ? 12 : 0), minute: minutes };
}

function knownZone(zone: string | undefined): string | null {
  if (zone === undefined || zone.trim() === "") return null;
  try {
    return new Intl.DateTimeFormat("en-US", { timeZone: zone.trim() }).resolvedOptions().timeZone;
  } catch {
    return null;
  }
}

interface WallClock {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
}

function wallClock(date: Date, timeZone: string): WallClock {
  const parts = new Intl.DateTimeFormat("en-US", {
    timeZone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
  }).formatToParts(date);
  const part = (type: Intl.DateTimeFormatPartTypes) => Number(parts.find((each) => each.type === type)?.value ?? 0);
  return { year: part("year"), month: part("month"), day: part("day"), hour: part("hour"), minute: part("minute") };
}

/** The instant at which clocks of `timeZone` show `clock`. One that is skipped in spring is taken with the offset before. */
function instant(clock: WallClock, timeZone: string): Date {
  const asUtc = Date.UTC(clock.year, clock.month - 1, clock.day, clock.hour, clock.minute);
  const offset = (at: number): number => {
    const shown = wallClock(new Date(at), timeZone);
    return Date.UTC(shown.year, shown.month - 1, shown.day, shown.hour, shown.minute) - at;
  };
  const guess = asUtc - offset(asUtc);
  return new Date(asUtc - offset(guess));
}
