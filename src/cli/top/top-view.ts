import { printable } from "../../adapter/host/printable.ts";
import { cellsOf, EXPENDABLE_TITLES, RUN_TITLES, type RunRow } from "../runs/run-row.ts";
import { cut, formatTable } from "../text-width.ts";

const SORTS = ["age", "phase", "agent", "restarts", "cpu", "memory"] as const;
type Sort = (typeof SORTS)[number];

/** What a person has chosen. */
export interface TopState {
  sort: Sort;
  filter: string;
  /** The filter is being typed. */
  isTyping: boolean;
  /** Name of the run that the cursor stands on. */
  selected: string | null;
  /** Its detail is shown. */
  isOpen: boolean;
}

export const INITIAL_TOP: TopState = { sort: "age", filter: "", isTyping: false, selected: null, isOpen: false };

/** With what metrics-server says of its pods, where there is one. */
export interface TopRow extends RunRow {
  cpuMillicores?: number;
  memoryBytes?: number;
}

export interface Key {
  name?: string;
  sequence?: string;
  ctrl?: boolean;
}

/** One key further. Null: leave. */
export function press(state: TopState, key: Key, rows: readonly TopRow[]): TopState | null {
  const { name = "", sequence = "", ctrl = false } = key;
  if (ctrl && name === "c") return null;
  if (state.isTyping) return typed(state, name, sequence);
  if (state.isOpen) return name === "q" ? null : { ...state, isOpen: !["escape", "return", "left"].includes(name) };
  const shown = shownRows(state, rows);
  const at = shown.findIndex((row) => row.name === state.selected);
  const moved = (to: number) => ({
    ...state,
    selected: shown[Math.min(Math.max(to, 0), shown.length - 1)]?.name ?? null,
  });
  switch (name) {
    case "q":
    case "escape":
      return null;
    case "up":
    case "k":
      return moved(at - 1);
    case "down":
    case "j":
      return moved(at + 1);
    case "pageup":
      return moved(at - 10);
    case "pagedown":
      return moved(at + 10);
    case "return":
    case "right":
      return at === -1 ? state : { ...state, isOpen: true };
    case "s":
      return { ...state, sort: SORTS[(SORTS.indexOf(state.sort) + 1) % SORTS.length] as Sort };
    default:
      return sequence === "/" ? { ...state, isTyping: true, filter: "" } : state;
  }
}

function typed(state: TopState, name: string, sequence: string): TopState {
  if (name === "return") return { ...state, isTyping: false };
  if (name === "escape") return { ...state, isTyping: false, filter: "" };
  if (name === "backspace") return { ...state, filter: state.filter.slice(0, -1) };
  return /^\P{Cc}+$/u.test(sequence) ? { ...state, filter: state.filter + sequence } : state;
}

/** The rows that match the filter, in the order that was chosen. */
function shownRows({ filter, sort }: TopState, rows: readonly TopRow[]): TopRow[] {
  const wanted = filter.toLowerCase();
  return rows
    .filter((row) =>
      [row.name, row.agent, row.phase, row.text, row.node].some((text) => text.toLowerCase().includes(wanted)),
    )
    .sort(ORDERS[sort]);
}

const ORDERS: Readonly<Record<Sort, (a: TopRow, b: TopRow) => number>> = {
  age: (a, b) => a.ageMs - b.ageMs,
  phase: (a, b) => a.phase.localeCompare(b.phase) || a.ageMs - b.ageMs,
  agent: (a, b) => a.agent.localeCompare(b.agent) || a.ageMs - b.ageMs,
  restarts: (a, b) => b.restarts - a.restarts || a.ageMs - b.ageMs,
  cpu: (a, b) => (b.cpuMillicores ?? -1) - (a.cpuMillicores ?? -1),
  memory: (a, b) => (b.memoryBytes ?? -1) - (a.memoryBytes ?? -1),
};

/** The lines of the screen: a title, the table around the cursor, what the keys do. */
export function renderTop(
  state: TopState,
  rows: readonly TopRow[],
  title: string,
  { columns, height }: { columns: number; height: number },
): { lines: string[]; cursor: number | null } {
  const shown = shownRows(state, rows);
  const hasMetrics = rows.some(({ cpuMillicores }) => cpuMillicores !== undefined);
  const room = Math.max(1, height - 4);
  const at = Math.max(
    0,
    shown.findIndex(({ name }) => name === state.selected),
  );
  const first = Math.max(0, Math.min(at - Math.floor(room / 2), shown.length - room));
  const window = shown.slice(first, first + room);
  const titles = hasMetrics ? [...RUN_TITLES.slice(0, -1), "CPU", "MEMORY", ...RUN_TITLES.slice(-1)] : RUN_TITLES;
  const cells = window.map((row) => {
    const own = cellsOf(row).map(printable);
    return hasMetrics ? [...own.slice(0, -1), cpuOf(row), memoryOf(row), ...own.slice(-1)] : own;
  });
  const cursor = window.findIndex(({ name }) => name === state.selected);
  return {
    lines: [
      cut(title, columns),
      ...formatTable(titles, cells, columns, EXPENDABLE_TITLES),
      "",
      cut(footer(state, rows.length, shown.length), columns),
    ],
    cursor: cursor === -1 ? null : cursor + 2,
  };
}

function footer({ isTyping, filter, sort }: TopState, total: number, shown: number): string {
  if (isTyping) return `filter: ${filter}_   enter: keep, esc: clear`;
  const count = shown === total ? `${total} runs` : `${shown} of ${total} runs (filter: ${filter})`;
  return `${count}   sorted by ${sort}   s: sort, /: filter, up, down, enter: detail, q: leave`;
}

function cpuOf({ cpuMillicores }: TopRow): string {
  return cpuMillicores === undefined ? "" : `${Math.round(cpuMillicores)}m`;
}

function memoryOf({ memoryBytes }: TopRow): string {
  return memoryBytes === undefined ? "" : `${Math.round(memoryBytes / 2 ** 20)}Mi`;
}
