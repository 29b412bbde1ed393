/**
 * When a limit of the provider ends, from the words of the CLI or the API: `resets 3pm (Europe/Berlin)`, `resets at 15:30 (UTC)`,
 * `resets Oct 9 at 5am (UTC)`, `resets Jan 3, 2027, 5am (UTC)`, `resets Dec 1`, `until 1 December 2026`, `resets Friday 10am (UTC)`,
 * `regain access on 2026-12-01 at 00:00 UTC`, `try again in 5 hours`, or `limit reached|1760000000` of older ones. Numeric dates are read as in the
 * US (`12/31/2026`), unless they cannot be. Of a clock time or
 * a weekday it is the next one.
 *
 * @returns null when the text says no time; a clock time without a zone is taken in the server's, a date alone in UTC
 */
export function resetTime(said: string, now: Date): Date | null {
  const epoch = /(?:limit reached\||\b(?:resets?(?:[_ ]?at)?|until|after)\b\W{1,4})(\d{10})(?:\d{3})?\b/i.exec(said);
  if (epoch) return new Date(Number(epoch[1]) * 1000);
  const text = said
    .replace(/\b(\d{1,2})\/(\d{1,2})\/(20\d\d)\b/g, isoDate)
    .replace(/\bmidnight\b/gi, "12am")
    .replace(/\bnoon\b/gi, "12pm");
  return isoTime(text) ?? clockOrDate(text, now) ?? timeFromNow(text, now);
}

function isoDate(_: string, first: string, second: string, year: string): string {
  const [month, day] = Number(first) > 12 ? [second, first] : [first, second];
  return `${year}-${month.padStart(2, "0")}-${day.padStart(2, "0")}`;
}

const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const HALF_A_YEAR = 183 * 24 * 3600 * 1000;
const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/** What the time is the time of; dates of other things (a model's, a request's) stand in such texts too. */
const VERB = String.raw`\b(?:resets?|renews?|refresh(?:es)?|restored|resumes?|regain access|available|(?:try|retry|wait)(?: again)?|until)\b(?:\s+again\b)?`;
const ENDS = String.raw`${VERB}[^.;\n]{0,40}?`;
const NTH = "(?:st|nd|rd|th)?";
const RESETS = new RegExp(
  String.raw`${VERB}:?\s+(?:(?:at|on|after|by|next):?\s+)?` +
    String.raw`(?:(?:today|(?<tomorrow>tomorrow))(?:,|\s+at)?\s*)?` +
    String.raw`(?:(?<weekday>${DAYS.join("|")})(?:day|s|sday|nesday|rs|rsday|urday)?\b\.?(?:,|\s+at)?\s*)?` +
    String.raw`(?:(?:(?<month>${MONTHS.join("|")})[a-z]*\.?\s+(?<day>\d{1,2})${NTH}|(?:the\s+)?(?<dayBefore>\d{1,2})${NTH}\s+(?:of\s+)?(?<monthAfter>${MONTHS.join("|")})[a-z]*\.?)(?![a-z\d])(?:,?\s+(?<year>20\d\d)\b)?(?:,|\s+at)?\s*)?` +
    String.raw`(?:(?<hour>\d{1,2})(?::(?<minute>\d{2}))?\s*(?<half>[ap]\.?\s?m\b\.?)?)?(?:\s*(?:\((?<zone>[^)]{1,64})\)|(?<utc>(?:utc|gmt)(?:[+-]\d{1,2}(?::?\d\d)?)?|[a-z]{2,4}t|[pmce]t)\b))?`,
  "gi",
);
const ISO = new RegExp(
  String.raw`${ENDS}\b(?<date>20\d\d[-/]\d\d[-/]\d\d)(?:(?:t|\s+at\s+|,?\s+)(?<time>\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?))?\s*(?<offset>z\b|utc\b|gmt\b|[+-]\d\d:?\d\d)?`,
  "i",
);
const FROM_NOW = new RegExp(
  String.raw`${ENDS}\b(?:in|after|for)\s+(?<parts>(?:(?:about\s+|,\s*|\s|and\s)*\d{1,6}(?:\.\d{1,9})?\s*(?:w(?:eeks?)?|d(?:ays?)?|h(?:ours?|rs?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)(?![a-z]))+)`,
  "i",
);
const UNIT_MS: Readonly<Record<string, number>> = { w: 604_800_000, d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000 };

function isoTime(text: string): Date | null {
  const groups = ISO.exec(text)?.groups;
  if (groups === undefined) return null;
  const { date = "", time = "00:00", offset = "Z" } = groups;
  const zone = /^[+-]/.test(offset) ? offset.replace(/^(...):?/, "$1:") : "Z";
  const at = new Date(`${date.replaceAll("/", "-")}T${time}${zone}`);
  return Number.isNaN(at.getTime()) ? null : at;
}

function timeFromNow(text: string, now: Date): Date | null {
  const header = /\bretry-after\W{1,4}(\d{1,7})\b/i.exec(text)?.[1];
  const parts = header === undefined ? (FROM_NOW.exec(text)?.groups?.parts ?? "") : `${header}s`;
  let ms = 0;
  for (const [, amount, unit] of parts.matchAll(/(\d+(?:\.\d+)?)\s*([wdhms])/gi)) {
    ms += Number(amount) * (UNIT_MS[unit?.toLowerCase() ?? ""] ?? 0);
  }
  return ms === 0 ? null : new Date(now.getTime() + ms);
}

function clockOrDate(text: string, now: Date): Date | null {
  for (const { groups } of text.matchAll(RESETS)) {
    const at = nextTime(groups ?? {}, now);
    if (at !== null) return at;
  }
  return null;
}

function nextTime(
  { tomorrow, weekday, year, hour, minute, half, zone, utc, ...date }: Record<string, string | undefined>,
  now: Date,
): Date | null {
  const month = date.month ?? date.monthAfter;
  const day = date.day ?? date.dayBefore;
  const clock = clockTime(hour, minute, half);
  const isDate = month !== undefined && day !== undefined;
  if (clock === null && !isDate && (weekday ?? tomorrow) === undefined) return null;
  const local = clock === null ? "UTC" : new Intl.DateTimeFormat().resolvedOptions().timeZone;
  const timeZone = knownZone(zone ?? utc) ?? knownZone(local) ?? "UTC";
  const time = clock ?? { hour: 0, minute: 0 };
  const today = wallClock(now, timeZone);
  if (isDate) {
    const monthIndex = MONTHS.indexOf(month.slice(0, 3).toLowerCase());
    const at = (ofYear: number) =>
      instant({ year: ofYear, month: monthIndex + 1, day: Number(day), ...time }, timeZone);
    if (year !== undefined) return at(Number(year));
    const thisYear = at(today.year);
    // A date of the past is of the year to come, unless it is only just over: then the limit has already ended.
    return now.getTime() - thisYear.getTime() > HALF_A_YEAR ? at(today.year + 1) : thisYear;
  }
  const inDays = weekday === undefined ? (tomorrow === undefined ? 0 : 1) : daysUntil(weekday, today);
  const next = instant({ ...today, ...time, day: today.day + inDays }, timeZone);
  if (next > now) return next;
  return instant({ ...today, ...time, day: today.day + inDays + (weekday === undefined ? 1 : 7) }, timeZone);
}

/** 0 to 6. */
function daysUntil(weekday: string, { year, month, day }: WallClock): number {
  const today = new Date(Date.UTC(year, month - 1, day)).getUTCDay();
  return (DAYS.indexOf(weekday.toLowerCase()) - today + 7) % 7;
}

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

/** By the first letter of `PST`, `PDT`, `PT`, … The same place in summer and in winter: the date says which. */
const US_ZONES: Readonly<Record<string, string>> = {
  p: "America/Los_Angeles",
  m: "America/Denver",
  c: "America/Chicago",
  e: "America/New_York",
};
const EUROPE: Readonly<Record<string, string>> = { cest: "Europe/Paris", bst: "Europe/London" };

function knownZone(zone: string | undefined): string | null {
  const name = zone?.trim().toLowerCase() ?? "";
  if (name === "") return null;
  const [, sign, hours = "", minutes = "00"] = /^(?:utc|gmt)?([+-])(\d{1,2})(?::?(\d\d))?$/.exec(name) ?? [];
  const ofUs = /^([pmce])[sd]?t$/.exec(name)?.[1] ?? "";
  const named = US_ZONES[ofUs] ?? EUROPE[name] ?? name;
  const timeZone = sign === undefined ? named : `${sign}${hours.padStart(2, "0")}:${minutes}`;
  try {
    return new Intl.DateTimeFormat("en-US", { timeZone }).resolvedOptions().timeZone;
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
