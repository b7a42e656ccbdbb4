// The grid of a case: RAS+, first axis fastest; planes, indices and steps on it.

export type Voxel = readonly [number, number, number];

/** Axis that a plane cuts through: 0 sagittal, 1 coronal, 2 axial. */
export type Axis = 0 | 1 | 2;

export interface Grid {
  /** Voxels along i (to the right), j (to the front), k (to the head). */
  readonly shape: Voxel;
  readonly spacingMm: Voxel;
}

export function voxelCount(grid: Grid): number {
  return grid.shape[0] * grid.shape[1] * grid.shape[2];
}

export function indexOf(grid: Grid, [i, j, k]: Voxel): number {
  return i + grid.shape[0] * (j + grid.shape[1] * k);
}

export function inside(grid: Grid, voxel: Voxel): boolean {
  return voxel.every((x, axis) => x >= 0 && x < grid.shape[axis]);
}

/** The two axes that lie in a plane, the faster one first. */
export function inPlane(axis: Axis): readonly [Axis, Axis] {
  return axis === 0 ? [1, 2] : axis === 1 ? [0, 2] : [0, 1];
}
