import { randomInt } from "node:crypto";

/** Without vowels and digits that look like letters: no words, no doubt (apimachinery `rand.String`). */
const SAFE_CHARACTERS = "bcdfghjklmnpqrstvwxz2456789";

export function randomSuffix(length = 5): string {
  let text = "";
  for (let i = 0; i < length; i++) text += SAFE_CHARACTERS.charAt(randomInt(SAFE_CHARACTERS.length));
  return text;
}
