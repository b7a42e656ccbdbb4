// The other organs of a case: what is shown beside the mask, and what must not be painted over.
import { fillRuns, NOTHING, Runs, runsWhere } from "../voxels/runs";

export class Neighbours {
  private readonly organs = new Map<string, Runs>();
  private before: Runs = NOTHING;

  constructor(private readonly voxels: number) {}

  add(key: string, mask: Uint8Array): void {
    this.organs.set(key, runsWhere(mask.length, (index) => mask[index] !== 0));
  }

  has(key: string): boolean {
    return this.organs.has(key);
  }

  setPrevious(mask: Uint8Array | null): void {
    this.before = mask ? runsWhere(mask.length, (index) => mask[index] !== 0) : NOTHING;
  }

  /** Labels: n + 1 where the nth of the keys lies, one more for the previous revision; the last one wins. */
  labels(keys: readonly string[], previous: boolean): Uint8Array {
    const labels = new Uint8Array(this.voxels);
    keys.forEach((key, n) => fillRuns(labels, this.organs.get(key) ?? NOTHING, n + 1));
    if (previous) fillRuns(labels, this.before, keys.length + 1);
    return labels;
  }

  /** One where a locked organ lies; null where none is locked. */
  locked(keys: readonly string[]): Uint8Array | null {
    if (!keys.length) return null;
    const locked = new Uint8Array(this.voxels);
    keys.forEach((key) => fillRuns(locked, this.organs.get(key) ?? NOTHING, 1));
    return locked;
  }
}
