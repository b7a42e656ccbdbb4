// The mask in work: the array that is seen, painted and saved, with its CT and its history.
import type { Parcel } from "../server/client";
import { Box, boxOf, crop } from "../voxels/box";
import type { Grid } from "../voxels/grid";
import { gzip } from "../voxels/gzip";
import { History } from "../voxels/history";
import { boxOfRuns, count, difference, flip, Runs, runsOfMask } from "../voxels/runs";

export class Work {
  readonly history = new History();
  private held: number;

  constructor(
    readonly grid: Grid,
    /** The CT in HU. */
    readonly hu: Int16Array,
    readonly voxels: Uint8Array,
  ) {
    this.held = count(runsOfMask(voxels));
  }

  /** Voxels that are set. */
  get size(): number {
    return this.held;
  }

  /** A change already made in `voxels`. */
  record(change: Runs): void {
    this.recount(change);
    this.history.push(change);
  }

  /** Become another mask, except where `forbids` says that a voxel must not be set; gives what changed. */
  become(mask: Uint8Array, forbids: (index: number) => boolean = () => false): Runs {
    const change = difference(this.voxels, mask, (index) => mask[index] === 1 && forbids(index));
    flip(this.voxels, change);
    this.record(change);
    return change;
  }

  undo(): Runs | null {
    return this.recounted(this.history.undo(this.voxels));
  }

  redo(): Runs | null {
    return this.recounted(this.history.redo(this.voxels));
  }

  /** How the mask travels: its box alone, or one empty voxel where there is nothing. */
  async parcel(): Promise<Parcel> {
    const box = boxOf(this.voxels, this.grid) ?? ONE_VOXEL;
    return { box, gzip: await gzip(crop(this.voxels, this.grid, box)) };
  }

  boxOfChange(change: Runs): Box | null {
    return boxOfRuns(change, this.grid);
  }

  private recounted(change: Runs | null): Runs | null {
    if (change) this.recount(change);
    return change;
  }

  private recount(change: Runs): void {
    for (let r = 0; r < change.length; r += 2) {
      for (let index = change[r]; index < change[r] + change[r + 1]; index++) this.held += this.voxels[index] ? 1 : -1;
    }
  }
}

const ONE_VOXEL: Box = { low: [0, 0, 0], high: [1, 1, 1] };
