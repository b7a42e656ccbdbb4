import { describe, expect, test } from "vitest";
import { alike, paint, rowsThatAreNot, same, Tinted } from "../src/view/painting";
import { ofLabels, ofShare, over } from "../src/view/tints";
import { randomOf } from "./random";

const GREY = Uint8ClampedArray.from({ length: 1024 }, (_, n) => Math.floor(n / 4));
const [WIDTH, HEIGHT, SLICES] = [4, 6, 5];
const SIZE = WIDTH * HEIGHT;

/** Labels in some slices, shares in others, often the same as in another draw. */
function layersOf(random: () => number): Tinted[] {
  const volume = (most: number) =>
    Uint8Array.from({ length: SIZE * SLICES }, (_, at) => (random() < 0.5 ? 0 : Math.floor(random() * most) * (at % 3)));
  const colours = random() < 0.5 ? ([[255, 0, 0], [0, 0, 255]] as const) : ([[0, 0, 255], [255, 0, 0]] as const);
  const layers = [
    { voxels: volume(2), tints: ofLabels(colours, 0.4) },
    { voxels: volume(120), tints: ofShare(GREY, 100, 255, 0.6) },
  ];
  return layers.slice(0, Math.floor(random() * 3));
}

function painted(layers: readonly Tinted[], start: number): Uint32Array {
  const slice = new Uint32Array(SIZE);
  paint(slice, layers, start);
  return slice;
}

describe("a slice of layers", () => {
  test("has each voxel's colours, one over the other", () => {
    const random = randomOf(5);
    for (let n = 0; n < 50; n++) {
      const layers = layersOf(random);
      const start = SIZE * Math.floor(random() * SLICES);
      const expected = Array.from({ length: SIZE }, (_, at) =>
        layers.reduce((below, { voxels, tints }) => over(tints.colours[voxels[start + at] - tints.lowest], below), 0),
      );
      expect([...painted(layers, start)]).toEqual(expected);
    }
  });

  test("keeping the rows that are alike leaves the picture of the new layers", () => {
    const random = randomOf(6);
    let kept = 0;
    let shown: Tinted[] = [];
    const picture = new Uint32Array(SIZE * SLICES);
    for (let n = 0; n < 400; n++) {
      const layers = n % 3 ? layersOf(random) : shown.map(({ voxels, tints }) => ({ voxels: changedIn(voxels, random), tints }));
      const asShown = alike(layers, shown);
      for (let start = 0; start < picture.length; start += SIZE) {
        const [first, behind] = rowsThatAreNot(asShown, start, WIDTH, HEIGHT) ?? [0, 0];
        kept += HEIGHT - (behind - first);
        paint(picture.subarray(start + first * WIDTH, start + behind * WIDTH), layers, start + first * WIDTH);
      }
      const anew = Array.from({ length: SLICES }, (_, k) => [...painted(layers, k * SIZE)]).flat();
      expect([...picture]).toEqual(anew);
      shown = layers;
    }
    expect(kept).toBeGreaterThan(4000);
  });

  test("is alike where only the numbers of the labels are others", () => {
    const [red, blue] = [[255, 0, 0], [0, 0, 255]] as const;
    const before = { voxels: Uint8Array.of(0, 1, 2, 2), tints: ofLabels([red, blue], 0.4) };
    const after = { voxels: Uint8Array.of(0, 0, 1, 1), tints: ofLabels([blue], 0.4) };
    expect(alike([after], [before])(2, 2)).toBe(true);
    expect(alike([after], [before])(0, 4)).toBe(false);
    expect(alike([], [before])(0, 1)).toBe(true);
    expect(alike([], [before])(0, 2)).toBe(false);
  });
});

test("layers are the same where their arrays are", () => {
  const one = { voxels: Uint8Array.of(1), tints: ofLabels([[1, 2, 3]], 1) };
  expect(same([one], [{ ...one }])).toBe(true);
  expect(same([one], [{ ...one, voxels: Uint8Array.of(1) }])).toBe(false);
  expect(same([one], [{ ...one, tints: ofLabels([[1, 2, 3]], 1) }])).toBe(false);
  expect(same([one], [])).toBe(false);
  expect(same([], [one])).toBe(false);
  expect(same([], [])).toBe(true);
});

/** The same voxels but for a few. */
function changedIn(voxels: Tinted["voxels"], random: () => number): Tinted["voxels"] {
  const start = Math.floor(random() * voxels.length);
  return voxels.slice().fill(Math.floor(random() * 3), start, start + 5);
}
