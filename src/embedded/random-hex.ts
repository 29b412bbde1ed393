/** Hexadecimal digits for ids that are no secret: several times cheaper than a read of the system's random source. */
export function randomHex(digits: number): string {
  let text = "";
  while (text.length < digits) {
    text += Math.floor(Math.random() * 2 ** 32)
      .toString(16)
      .padStart(8, "0");
  }
  return text.slice(0, digits);
}
