import { randomInt } from "node:crypto";

/** Without vowels and digits that look like letters: no words, no doubt (apimachinery `rand.String`). */
const SAFE_CHARACTERS = "bcdfghjklmnpqrstvwxz2456789";

export function randomSuffix(): string {
  let text = "";
  for (let i = 0; i < 5; i++) text += SAFE_CHARACTERS.charAt(randomInt(SAFE_CHARACTERS.length));
  return text;
}
