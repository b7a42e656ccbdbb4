// A mask as it travels: the gzipped voxels of a box, where the box lies, and in which grid.
import { parseBox, place } from "./box";
import type { Grid } from "./grid";
import { gunzip } from "./gzip";

export interface Sent {
  readonly gzip: ArrayBuffer;
  readonly box: string;
  /** "i,j,k" of the whole grid. */
  readonly shape: string;
}

/** The mask on the whole grid, 0 or 1; a RangeError says what does not fit. */
export async function unpack({ gzip, box, shape }: Sent, grid: Grid): Promise<Uint8Array> {
  if (shape !== grid.shape.join(",")) {
    throw new RangeError(`it has ${shape.split(",").join(" x ")} voxels, the CT has ${grid.shape.join(" x ")}`);
  }
  const part = await gunzip(gzip).catch(() => {
    throw new RangeError("it is cut off or damaged");
  });
  for (let index = 0; index < part.length; index++) {
    if (part[index] > 1) throw new RangeError(`voxel ${index} of the mask is ${part[index]}, not 0 or 1`);
  }
  return place(part, grid, parseBox(box, grid));
}
