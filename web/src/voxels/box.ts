// A half-open box of voxels: where a mask lies, what of it travels.
import { Grid, Voxel } from "./grid";

export interface Box {
  readonly low: Voxel;
  readonly high: Voxel;
}

export function boxSize({ low, high }: Box): Voxel {
  return [high[0] - low[0], high[1] - low[1], high[2] - low[2]];
}

export function boxText({ low, high }: Box): string {
  return [...low, ...high].join(",");
}

export function parseBox(text: string, grid: Grid): Box {
  const numbers = text.split(",").map(Number);
  const box: Box = { low: numbers.slice(0, 3) as unknown as Voxel, high: numbers.slice(3) as unknown as Voxel };
  if (numbers.length !== 6 || !numbers.every(Number.isInteger) || !fits(box, grid)) {
    throw new RangeError(`box ${text} does not lie in a grid of ${grid.shape.join(" x ")} voxels`);
  }
  return box;
}

function fits({ low, high }: Box, grid: Grid): boolean {
  return low.every((x, axis) => x >= 0 && x <= high[axis] && high[axis] <= grid.shape[axis]);
}

/** Smallest box around all voxels that are set; null where none is. */
export function boxOf(mask: Uint8Array, grid: Grid): Box | null {
  const [ni, nj, nk] = grid.shape;
  const low = [ni, nj, nk];
  const high = [0, 0, 0];
  for (let k = 0, row = 0; k < nk; k++) {
    for (let j = 0; j < nj; j++, row += ni) {
      const first = mask.subarray(row, row + ni).indexOf(1);
      if (first < 0) continue;
      const last = mask.subarray(row, row + ni).lastIndexOf(1);
      widen(low, high, [first, j, k], [last, j, k]);
    }
  }
  return high[0] === 0 ? null : { low: low as unknown as Voxel, high: high as unknown as Voxel };
}

function widen(low: number[], high: number[], first: Voxel, last: Voxel): void {
  for (let axis = 0; axis < 3; axis++) {
    low[axis] = Math.min(low[axis], first[axis]);
    high[axis] = Math.max(high[axis], last[axis] + 1);
  }
}

/** The voxels of a box, first axis fastest. */
export function crop(mask: Uint8Array, grid: Grid, box: Box): Uint8Array {
  const part = new Uint8Array(boxSize(box).reduce((a, b) => a * b, 1));
  eachRow(grid, box, (start, length, offset) => part.set(mask.subarray(start, start + length), offset));
  return part;
}

/** A whole mask with a box's voxels in it and nothing outside. */
export function place(part: Uint8Array, grid: Grid, box: Box): Uint8Array {
  const size = boxSize(box).reduce((a, b) => a * b, 1);
  if (part.length !== size) throw new RangeError(`${part.length} voxels do not fill the box ${boxText(box)} of ${size}`);
  const mask = new Uint8Array(grid.shape[0] * grid.shape[1] * grid.shape[2]);
  eachRow(grid, box, (start, length, offset) => mask.set(part.subarray(offset, offset + length), start));
  return mask;
}

function eachRow(grid: Grid, { low, high }: Box, visit: (start: number, length: number, offset: number) => void): void {
  const [ni, nj] = grid.shape;
  const length = high[0] - low[0];
  let offset = 0;
  for (let k = low[2]; k < high[2]; k++) {
    for (let j = low[1]; j < high[1]; j++, offset += length) visit(low[0] + ni * (j + nj * k), length, offset);
  }
}

/** The box around two boxes. */
export function union(a: Box, b: Box): Box {
  const low = a.low.map((x, axis) => Math.min(x, b.low[axis])) as unknown as Voxel;
  const high = a.high.map((x, axis) => Math.max(x, b.high[axis])) as unknown as Voxel;
  return { low, high };
}
