import { cutStart } from "../json/read-json.ts";

/** What the assistant said, for runs that end without an answer. The latest `max` characters are kept. */
export class AssistantText {
  readonly #max: number;
  #blocks: string[] = [];
  #length = 0;
  #messageId: string | null = null;
  /** Where the blocks of the current message start in `#blocks`. */
  #messageStart = 0;
  #isCut = false;

  constructor(max: number) {
    this.#max = max;
  }

  /**
   * The CLI prints one event per content block, all with the message's id; older ones repeat a message as it grows. So an
   * event with several blocks is a snapshot of its message, an event with one block continues it, unless it starts with
   * what the block before said (the same block, grown or printed again).
   */
  add(messageId: string | null, texts: readonly string[]): void {
    if (texts.length === 0) return;
    if (messageId === null || messageId !== this.#messageId) {
      this.#messageId = messageId;
      this.#messageStart = this.#blocks.length;
    } else if (texts.length > 1) {
      this.#dropFrom(this.#messageStart);
    } else if (this.#blocks.length > this.#messageStart && texts[0]?.startsWith(this.#blocks.at(-1) ?? "\0")) {
      this.#dropFrom(this.#blocks.length - 1);
    }
    for (const text of texts) this.#push(text);
  }

  /** Blocks joined by blank lines; empty when nothing was said. */
  read(): string {
    const text = this.#blocks.join("\n\n").trim();
    return this.#isCut ? `…${text}` : text;
  }

  #push(text: string): void {
    const kept = cutStart(text, this.#max);
    if (kept.length < text.length) this.#isCut = true;
    this.#blocks.push(kept);
    this.#length += kept.length;
    while (this.#length > this.#max && this.#blocks.length > 1) {
      this.#length -= this.#blocks.shift()?.length ?? 0;
      this.#messageStart = Math.max(0, this.#messageStart - 1);
      this.#isCut = true;
    }
  }

  #dropFrom(index: number): void {
    for (const text of this.#blocks.splice(index)) this.#length -= text.length;
  }
}
