import { parseAst } from "vitest/node";

/** One change of a file: the text between `start` and `end` becomes `text`. */
export interface Mutant {
  readonly start: number;
  readonly end: number;
  readonly text: string;
  readonly line: number;
  /** The line with the change marked, for people and for the list of equivalent mutants. */
  readonly shown: string;
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

const OPERATORS: Readonly<Record<string, string>> = {
  "===": "!==",
  "!==": "===",
  "<": "<=",
  "<=": "<",
  ">": ">=",
  ">=": ">",
  "+": "-",
  "-": "+",
  "*": "/",
  "/": "*",
  "&&": "||",
  "||": "&&",
};
const CALLS: Readonly<Record<string, string>> = { some: "every", every: "some", min: "max", max: "min" };
/** A limit that counts; milliseconds are more, and one of them more is the same to any test. */
const LARGEST_COUNT = 10;

/** All mutants of a TypeScript file, each with one operator, condition, flag or small number changed. */
export function mutantsOf(source: string): Mutant[] {
  const mutants: Mutant[] = [];
  const add = (start: number, end: number, text: string) => {
    const from = source.lastIndexOf("\n", start) + 1;
    const newline = source.indexOf("\n", end);
    const to = newline === -1 ? source.length : newline;
    const was = source.slice(start, end);
    mutants.push({
      start,
      end,
      text,
      line: source.slice(0, start).split("\n").length,
      shown: `${source.slice(from, start).trimStart()}«${was} → ${text}»${source.slice(end, to)}`,
    });
  };
  visit(parseAst(source, { lang: "ts" }) as unknown as Node, (node) => {
    const { start, end } = node;
    const text = source.slice(start, end);
    switch (node.type) {
      case "BinaryExpression":
      case "LogicalExpression": {
        const { left, right, operator } = node as Node & { left: Node; right: Node; operator: string };
        if (operator === "??") return add(start, end, source.slice(left.start, left.end));
        const other = OPERATORS[operator];
        if (other === undefined || (operator === "+" && [left, right].some(isText))) return;
        const at = source.indexOf(operator, left.end);
        return add(at, at + operator.length, other);
      }
      case "UnaryExpression":
        if (node.operator === "!") add(start, start + 1, "");
        return;
      case "IfStatement":
      case "ConditionalExpression": {
        const test = node.test as Node;
        for (const value of ["true", "false"]) add(test.start, test.end, value);
        return;
      }
      case "Literal":
        if (node.value === true) add(start, end, "false");
        else if (node.value === false) add(start, end, "true");
        else if (typeof node.value === "number" && node.value <= LARGEST_COUNT) add(start, end, `${node.value + 1}`);
        return;
      case "MemberExpression": {
        const property = node.property as Node & { name?: string };
        const other = CALLS[property.name ?? ""];
        if (other !== undefined) add(property.start, property.end, other);
        return;
      }
      case "ReturnStatement":
        if (text === "return;") add(start, end, ";");
        return;
    }
  });
  return mutants;
}

function isText(node: Node): boolean {
  return node.type === "TemplateLiteral" || (node.type === "Literal" && typeof node.value === "string");
}

/** Types decide nothing at run time; the condition of a loop, changed, may never end. */
function visit(node: Node, each: (node: Node) => void): void {
  if (node.type.startsWith("TS") && node.type !== "TSAsExpression" && node.type !== "TSSatisfiesExpression") return;
  each(node);
  const isLoop = node.type === "WhileStatement" || node.type === "ForStatement" || node.type === "DoWhileStatement";
  for (const [key, value] of Object.entries(node)) {
    if (isLoop && (key === "test" || key === "update" || key === "init")) continue;
    for (const child of Array.isArray(value) ? value : [value]) {
      if (typeof child === "object" && child !== null && "type" in child) visit(child as Node, each);
    }
  }
}
