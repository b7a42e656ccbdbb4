// Strokes: discs along a line within one plane, only where painting is allowed.
import { Axis, Grid, indexOf, inPlane, inside, Voxel } from "./grid";

export interface Brush {
  /** The plane painted in, by the axis it cuts through. */
  readonly axis: Axis;
  /** Radius in mm; below half a voxel it is a single voxel. */
  readonly radiusMm: number;
  readonly value: 0 | 1;
  /** May this voxel be changed? */
  readonly allows: (index: number) => boolean;
}

/** Paint from one voxel to another; gives the indices of the voxels that changed. */
export function paintLine(mask: Uint8Array, grid: Grid, from: Voxel, to: Voxel, brush: Brush): number[] {
  const changed: number[] = [];
  const disc = discOf(grid, brush);
  for (const centre of line(from, to)) {
    for (const step of disc) paintVoxel(mask, grid, add(centre, step), brush, changed);
  }
  return changed;
}

function paintVoxel(mask: Uint8Array, grid: Grid, voxel: Voxel, brush: Brush, changed: number[]): void {
  if (!inside(grid, voxel)) return;
  const index = indexOf(grid, voxel);
  if (mask[index] === brush.value || !brush.allows(index)) return;
  mask[index] = brush.value;
  changed.push(index);
}

/** Steps from a disc's centre to its voxels. */
export function discOf(grid: Grid, { axis, radiusMm }: Pick<Brush, "axis" | "radiusMm">): Voxel[] {
  const [a, b] = inPlane(axis);
  const [stepA, stepB] = [grid.spacingMm[a], grid.spacingMm[b]];
  const [reachA, reachB] = [Math.floor(radiusMm / stepA), Math.floor(radiusMm / stepB)];
  const steps: Voxel[] = [];
  for (let y = 0 - reachB; y <= reachB; y++) {
    for (let x = 0 - reachA; x <= reachA; x++) {
      if ((x * stepA) ** 2 + (y * stepB) ** 2 <= radiusMm ** 2 + 1e-9) steps.push(along(a, x, b, y));
    }
  }
  return steps;
}

function along(a: Axis, x: number, b: Axis, y: number): Voxel {
  const step: [number, number, number] = [0, 0, 0];
  step[a] = x;
  step[b] = y;
  return step;
}

/** Voxels on the straight line between two voxels, both ends included. */
export function line(from: Voxel, to: Voxel): Voxel[] {
  const steps = Math.max(...from.map((x, axis) => Math.abs(to[axis] - x)));
  const at = (s: number) => from.map((x, axis) => Math.round(x + ((to[axis] - x) * s) / Math.max(steps, 1)));
  return Array.from({ length: steps + 1 }, (_, s) => at(s) as unknown as Voxel);
}

function add(a: Voxel, b: Voxel): Voxel {
  return [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
}

/** What a brush may change: never a locked organ's voxel; with a range, only voxels within it (HU, ends included). */
export function allowed(locked: Uint8Array | null, hu: ArrayLike<number> | null, range: readonly [number, number] | null) {
  return (index: number): boolean => {
    if (locked && locked[index]) return false;
    return !range || !hu || (hu[index] >= range[0] && hu[index] <= range[1]);
  };
}
