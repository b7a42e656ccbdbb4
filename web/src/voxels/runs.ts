// Runs: a set of voxels as pairs (start, length), sorted. A binary mask, or what a change flips.
import type { Box } from "./box";
import { Grid, Voxel } from "./grid";

export type Runs = Uint32Array;

export const NOTHING: Runs = new Uint32Array(0);

/** Runs of indices in any order; each index counts once. */
export function runsOf(indices: readonly number[]): Runs {
  const sorted = Uint32Array.from(indices).sort();
  const pairs: number[] = [];
  for (const index of sorted) {
    const end = pairs.length ? pairs[pairs.length - 2] + pairs[pairs.length - 1] : -1;
    if (index === end) pairs[pairs.length - 1]++;
    else if (index > end) pairs.push(index, 1);
  }
  return Uint32Array.from(pairs);
}

/** Runs of a binary mask; `indexOf` crosses the empty space of a large CT fast. */
export function runsOfMask(mask: Uint8Array): Runs {
  const pairs: number[] = [];
  for (let start = mask.indexOf(1); start >= 0; ) {
    const end = mask.indexOf(0, start);
    pairs.push(start, (end < 0 ? mask.length : end) - start);
    start = end < 0 ? -1 : mask.indexOf(1, end);
  }
  return Uint32Array.from(pairs);
}

/** Runs of the voxels in which two binary masks differ, but for those where `spare` is true. */
export function difference(before: Uint8Array, after: Uint8Array, spare: (index: number) => boolean = () => false): Runs {
  const pairs: number[] = [];
  let end = -1;
  for (let index = 0; index < before.length; index++) {
    if (before[index] === after[index] || spare(index)) continue;
    if (index === end) pairs[pairs.length - 1]++;
    else pairs.push(index, 1);
    end = index + 1;
  }
  return Uint32Array.from(pairs);
}

export function count(runs: Runs): number {
  let sum = 0;
  for (let r = 1; r < runs.length; r += 2) sum += runs[r];
  return sum;
}

export function eachVoxel(runs: Runs, visit: (index: number) => void): void {
  for (let r = 0; r < runs.length; r += 2) {
    const end = runs[r] + runs[r + 1];
    for (let index = runs[r]; index < end; index++) visit(index);
  }
}

/** Flip voxels of a binary mask; flipping again takes it back. */
export function flip(mask: Uint8Array, runs: Runs): void {
  eachVoxel(runs, (index) => {
    mask[index] ^= 1;
  });
}

export function fillRuns(target: Uint8Array, runs: Runs, value: number): void {
  for (let r = 0; r < runs.length; r += 2) target.fill(value, runs[r], runs[r] + runs[r + 1]);
}

/** The box in which runs lie; null where there is none. Runs that cross a row span the whole row. */
export function boxOfRuns(runs: Runs, grid: Grid): Box | null {
  if (!runs.length) return null;
  const low = [...grid.shape];
  const high = [0, 0, 0];
  for (let r = 0; r < runs.length; r += 2) {
    const first = voxelOf(grid, runs[r]);
    const last = voxelOf(grid, runs[r] + runs[r + 1] - 1);
    stretch(low, high, first, last, grid);
  }
  return { low: low as unknown as Voxel, high: high as unknown as Voxel };
}

function voxelOf(grid: Grid, index: number): Voxel {
  const [ni, nj] = grid.shape;
  return [index % ni, Math.floor(index / ni) % nj, Math.floor(index / (ni * nj))];
}

function stretch(low: number[], high: number[], first: Voxel, last: Voxel, grid: Grid): void {
  const slices = first[2] !== last[2];
  const rows = slices || first[1] !== last[1];
  const from = [rows ? 0 : first[0], slices ? 0 : first[1], first[2]];
  const to = [rows ? grid.shape[0] : last[0] + 1, slices ? grid.shape[1] : last[1] + 1, last[2] + 1];
  for (let axis = 0; axis < 3; axis++) {
    low[axis] = Math.min(low[axis], from[axis]);
    high[axis] = Math.max(high[axis], to[axis]);
  }
}
