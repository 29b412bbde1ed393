import { canonicalImage } from "./pod-status.ts";

export interface ImageFailure {
  /** What the container runtime says. Default: that the registry does not have the image. */
  message?: string;
  /** Fail so many pulls, then succeed. Default: always. */
  times?: number;
}

/** Which images cannot be pulled. All others are there. */
export class ImageRegistry {
  readonly #failures = new Map<string, { message: string; left: number }>();

  fail(image: string, { message, times = Number.POSITIVE_INFINITY }: ImageFailure = {}): void {
    const name = canonicalImage(image);
    this.#failures.set(image, {
      message:
        message ??
        `rpc error: code = NotFound desc = failed to pull and unpack image "${name}": failed to resolve image: ${name}: not found`,
      left: times,
    });
  }

  /** The image can be pulled again; pods that wait for it see so at their next try. */
  restore(image: string): void {
    this.#failures.delete(image);
  }

  /** @returns why the pull failed, or null. */
  pull(image: string): string | null {
    const failure = this.#failures.get(image);
    if (failure === undefined) return null;
    if (failure.left <= 0) return null;
    failure.left--;
    return failure.message;
  }

  /** Whether it is on the node without a pull. */
  isPresent(image: string): boolean {
    return !this.#failures.has(image);
  }
}
