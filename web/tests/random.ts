// Seeded numbers and masks for the tests.
import type { Grid } from "../src/voxels/grid";
import { voxelCount } from "../src/voxels/grid";

/** mulberry32: the same numbers for the same seed. */
export function randomOf(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const GRID: Grid = { shape: [7, 5, 4], spacingMm: [1, 2, 3] };

export function randomMask(seed: number, share: number, grid = GRID): Uint8Array {
  const random = randomOf(seed);
  return Uint8Array.from({ length: voxelCount(grid) }, () => (random() < share ? 1 : 0));
}

export const SEEDS = Array.from({ length: 40 }, (_, n) => n + 1);
