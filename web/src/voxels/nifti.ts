// The little of NIfTI-1 that the server sends: one volume, int16 HU or uint8, RAS+, little-endian.
import { Grid, voxelCount } from "./grid";

const HEADER_BYTES = 348;
const UINT8 = 2;
const INT16 = 4;

export interface Volume<Voxels extends Int16Array | Uint8Array> {
  readonly bytes: ArrayBuffer;
  readonly offset: number;
  readonly voxels: Voxels;
}

/** A CT in HU on the grid; a RangeError says what does not fit. */
export function readImage(bytes: ArrayBuffer, grid: Grid): Volume<Int16Array> {
  const offset = offsetOf(bytes, grid, INT16, 2);
  return { bytes, offset, voxels: new Int16Array(bytes, offset, voxelCount(grid)) };
}

/** One byte a voxel on the grid; a RangeError says what does not fit. */
export function readBytes(bytes: ArrayBuffer, grid: Grid): Volume<Uint8Array> {
  const offset = offsetOf(bytes, grid, UINT8, 1);
  return { bytes, offset, voxels: new Uint8Array(bytes, offset, voxelCount(grid)) };
}

function offsetOf(bytes: ArrayBuffer, grid: Grid, type: number, size: number): number {
  if (bytes.byteLength < HEADER_BYTES + 4) throw new RangeError(`${bytes.byteLength} bytes are no NIfTI-1 file`);
  const header = new DataView(bytes);
  if (header.getInt32(0, true) !== HEADER_BYTES) throw new RangeError("no NIfTI-1 header");
  const shape = [1, 2, 3].map((axis) => header.getInt16(40 + 2 * axis, true));
  if (shape.some((n, axis) => n !== grid.shape[axis])) {
    throw new RangeError(`it has ${shape.join(" x ")} voxels, the CT has ${grid.shape.join(" x ")}`);
  }
  if (header.getInt16(70, true) !== type) throw new RangeError(`its data type is ${header.getInt16(70, true)}, not ${type}`);
  return checkedOffset(header.getFloat32(108, true), bytes.byteLength, voxelCount(grid) * size);
}

function checkedOffset(offset: number, held: number, needed: number): number {
  if (offset + needed > held) throw new RangeError(`it is cut off: ${held} of ${offset + needed} bytes`);
  return offset;
}

/** A file of one voxel, 0, where the first of another file lies. */
export function oneVoxel(header: ArrayBuffer): ArrayBuffer {
  const bytes = new Uint8Array(HEADER_BYTES + 4 + 1);
  bytes.set(new Uint8Array(header, 0, HEADER_BYTES));
  const view = new DataView(bytes.buffer);
  for (const axis of [1, 2, 3]) view.setInt16(40 + 2 * axis, 1, true);
  view.setInt16(70, UINT8, true);
  view.setInt16(72, 8, true);
  view.setFloat32(108, HEADER_BYTES + 4, true);
  view.setFloat32(112, 1, true);
  view.setFloat32(116, 0, true);
  return bytes.buffer;
}
