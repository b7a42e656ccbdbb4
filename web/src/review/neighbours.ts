// The other organs of a case: what is shown beside the mask, and what must not be painted over.
import { fillRuns, NOTHING, Runs, runsOfMask } from "../voxels/runs";

export class Neighbours {
  private readonly organs = new Map<string, { readonly revision: number; readonly runs: Runs }>();
  private before: Runs = NOTHING;

  constructor(private readonly voxels: number) {}

  add(key: string, revision: number, mask: Uint8Array): void {
    this.organs.set(key, { revision, runs: runsOfMask(mask) });
  }

  /** Is this organ's mask here, as it is in that revision? */
  has(key: string, revision: number): boolean {
    return this.organs.get(key)?.revision === revision;
  }

  setPrevious(mask: Uint8Array | null): void {
    this.before = mask ? runsOfMask(mask) : NOTHING;
  }

  /** Labels: n + 1 where the nth of the keys lies (null: nowhere), one more for the previous revision; the last one wins. */
  labels(keys: readonly (string | null)[], previous: boolean): Uint8Array {
    const labels = new Uint8Array(this.voxels);
    keys.forEach((key, n) => key !== null && fillRuns(labels, this.runs(key), n + 1));
    if (previous) fillRuns(labels, this.before, keys.length + 1);
    return labels;
  }

  /** One where a locked organ lies; null where none is locked. */
  locked(keys: readonly string[]): Uint8Array | null {
    if (!keys.length) return null;
    const locked = new Uint8Array(this.voxels);
    keys.forEach((key) => fillRuns(locked, this.runs(key), 1));
    return locked;
  }

  private runs(key: string): Runs {
    return this.organs.get(key)?.runs ?? NOTHING;
  }
}
