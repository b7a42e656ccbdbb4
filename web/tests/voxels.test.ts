// Laws of boxes, runs and files: what is cut out and put back, flipped twice, packed and unpacked is what it was.
import { describe, expect, it, test } from "vitest";
import { boxOf, boxText, crop, parseBox, place, union } from "../src/voxels/box";
import { indexOf, inside, Voxel, voxelCount } from "../src/voxels/grid";
import { gunzip, gzip } from "../src/voxels/gzip";
import { oneVoxel, readBytes, readImage } from "../src/voxels/nifti";
import { unpack } from "../src/voxels/parcel";
import { boxOfRuns, count, difference, eachVoxel, fillRuns, flip, runsOf, runsOfMask } from "../src/voxels/runs";
import { GRID, randomMask, randomOf, SEEDS } from "./random";

function voxels(): Voxel[] {
  const [ni, nj, nk] = GRID.shape;
  return Array.from({ length: ni * nj * nk }, (_, n) => [n % ni, Math.floor(n / ni) % nj, Math.floor(n / (ni * nj))]);
}

describe("the box of a mask", () => {
  test.each(SEEDS)("is the smallest that holds every voxel (seed %i)", (seed) => {
    const mask = randomMask(seed, 0.03);
    const set = voxels().filter((voxel) => mask[indexOf(GRID, voxel)]);
    const box = boxOf(mask, GRID);
    if (!set.length) return expect(box).toBeNull();
    expect(box).toEqual({
      low: [0, 1, 2].map((axis) => Math.min(...set.map((voxel) => voxel[axis]))),
      high: [0, 1, 2].map((axis) => Math.max(...set.map((voxel) => voxel[axis])) + 1),
    });
  });

  test.each(SEEDS)("cut out and put back gives the mask (seed %i)", (seed) => {
    const mask = randomMask(seed, 0.1);
    const box = boxOf(mask, GRID)!;
    expect(place(crop(mask, GRID, box), GRID, box)).toEqual(mask);
  });

  it("travels as text", () => {
    const box = { low: [1, 0, 2], high: [3, 5, 4] } as const;
    expect(parseBox(boxText(box), GRID)).toEqual(box);
  });

  it.each(["", "1,2,3", "0,0,0,8,1,1", "-1,0,0,1,1,1", "3,0,0,1,1,1", "a,0,0,1,1,1", "0,0,0,1.5,1,1"])("is refused: %s", (text) => {
    expect(() => parseBox(text, GRID)).toThrow(/does not lie in a grid of 7 x 5 x 4 voxels/);
  });

  it("does not take voxels of another size", () => {
    expect(() => place(new Uint8Array(5), GRID, { low: [0, 0, 0], high: [2, 2, 2] })).toThrow(/5 voxels do not fill/);
  });

  it("spans two boxes", () => {
    const both = union({ low: [0, 3, 1], high: [2, 4, 2] }, { low: [1, 0, 0], high: [3, 1, 1] });
    expect(both).toEqual({ low: [0, 0, 0], high: [3, 4, 2] });
  });
});

describe("runs", () => {
  test.each(SEEDS)("hold exactly the voxels they were made from (seed %i)", (seed) => {
    const mask = randomMask(seed, 0.4);
    const runs = runsOfMask(mask);
    const again = new Uint8Array(mask.length);
    fillRuns(again, runs, 1);
    expect(again).toEqual(mask);
    expect(count(runs)).toBe(mask.reduce((a, b) => a + b, 0));
  });

  test.each(SEEDS)("come from indices in any order, twice or not (seed %i)", (seed) => {
    const random = randomOf(seed);
    const indices = Array.from({ length: 60 }, () => Math.floor(random() * 90));
    const seen: number[] = [];
    eachVoxel(runsOf(indices), (index) => seen.push(index));
    expect(seen).toEqual([...new Set(indices)].sort((a, b) => a - b));
  });

  test.each(SEEDS)("turn one mask into the other and back (seed %i)", (seed) => {
    const [before, after] = [randomMask(seed, 0.3), randomMask(seed + 1000, 0.3)];
    const mask = before.slice();
    flip(mask, difference(before, after));
    expect(mask).toEqual(after);
    flip(mask, difference(before, after));
    expect(mask).toEqual(before);
  });

  test.each(SEEDS)("lie within their box (seed %i)", (seed) => {
    const mask = randomMask(seed, 0.02);
    const runs = runsOfMask(mask);
    const box = boxOfRuns(runs, GRID);
    if (!box) return expect(runs).toHaveLength(0);
    const own = boxOf(mask, GRID)!;
    expect(union(own, box)).toEqual(box);
    expect(inside(GRID, box.low)).toBe(true);
  });
});

/** A NIfTI-1 file as the server writes it. */
function file(shape: Voxel, type: number, bytes: number, head = 352): ArrayBuffer {
  const buffer = new ArrayBuffer(head + bytes);
  const view = new DataView(buffer);
  view.setInt32(0, 348, true);
  view.setInt16(40, 3, true);
  shape.forEach((n, axis) => view.setInt16(42 + 2 * axis, n, true));
  view.setInt16(70, type, true);
  view.setFloat32(108, head, true);
  return buffer;
}

describe("a file", () => {
  const size = voxelCount(GRID);

  it("gives the CT's HU, and one voxel in its place", () => {
    const ct = file(GRID.shape, 4, 2 * size);
    new DataView(ct).setInt16(352 + 2 * indexOf(GRID, [3, 2, 1]), -700, true);
    expect(readImage(ct, GRID).voxels[indexOf(GRID, [3, 2, 1])]).toBe(-700);
    expect(readBytes(oneVoxel(ct), { ...GRID, shape: [1, 1, 1] }).voxels).toEqual(Uint8Array.of(0));
  });

  it("of another size is refused, with both sizes", () => {
    expect(() => readBytes(file([7, 4, 5], 2, size), GRID)).toThrow("it has 7 x 4 x 5 voxels, the CT has 7 x 5 x 4");
  });

  it("that is cut off, of another type, or no file at all is refused", () => {
    expect(() => readBytes(file(GRID.shape, 2, size - 1), GRID)).toThrow(/cut off/);
    expect(() => readBytes(file(GRID.shape, 4, 2 * size), GRID)).toThrow(/data type is 4, not 2/);
    expect(() => readBytes(new ArrayBuffer(20), GRID)).toThrow(/20 bytes are no NIfTI-1 file/);
    expect(() => readBytes(new ArrayBuffer(500), GRID)).toThrow(/no NIfTI-1 header/);
  });
});

describe("a mask that comes as a box", () => {
  const sent = async (part: Uint8Array, box: string, shape = GRID.shape.join(",")) => ({ gzip: await gzip(part), box, shape });

  it("lies in the grid where the box says", async () => {
    for (const seed of SEEDS) {
      const mask = randomMask(seed, 0.1);
      const box = boxOf(mask, GRID);
      if (!box) continue;
      expect(await unpack(await sent(crop(mask, GRID, box), boxText(box)), GRID)).toEqual(mask);
    }
  });

  it("of another grid is refused, with both sizes", async () => {
    const other = await sent(new Uint8Array(1), "0,0,0,1,1,1", "7,4,5");
    await expect(unpack(other, GRID)).rejects.toThrow("it has 7 x 4 x 5 voxels, the CT has 7 x 5 x 4");
  });

  it("with other values than 0 and 1, too few voxels, a box outside, or damaged is refused", async () => {
    await expect(unpack(await sent(Uint8Array.of(0, 7), "0,0,0,2,1,1"), GRID)).rejects.toThrow("voxel 1 of the mask is 7, not 0 or 1");
    await expect(unpack(await sent(new Uint8Array(3), "0,0,0,2,2,1"), GRID)).rejects.toThrow(/3 voxels do not fill/);
    await expect(unpack(await sent(new Uint8Array(1), "7,0,0,8,1,1"), GRID)).rejects.toThrow(/does not lie in a grid/);
    await expect(unpack({ gzip: new ArrayBuffer(9), box: "0,0,0,1,1,1", shape: "7,5,4" }, GRID)).rejects.toThrow(/cut off or damaged/);
  });
});

test("gzip comes back as it was", async () => {
  const bytes = randomMask(9, 0.5);
  const packed = await gzip(bytes);
  expect([...new Uint8Array(packed).slice(0, 2)]).toEqual([0x1f, 0x8b]);
  expect(await gunzip(packed)).toEqual(bytes);
});
