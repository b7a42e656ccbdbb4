// Strokes, what they may touch, and undo: compared with slow, plain oracles.
import { describe, expect, it, test } from "vitest";
import { Neighbours } from "../src/review/neighbours";
import { Work } from "../src/review/work";
import { Axis, Grid, indexOf, Voxel, voxelCount } from "../src/voxels/grid";
import { gunzip } from "../src/voxels/gzip";
import { History } from "../src/voxels/history";
import { difference, runsOf } from "../src/voxels/runs";
import { allowed, discOf, line, paintLine } from "../src/voxels/stroke";
import { GRID, randomMask, randomOf, SEEDS } from "./random";

const ANYWHERE = () => true;

describe("a stroke", () => {
  test.each([0, 1, 2] as Axis[])("stays in its plane (axis %i)", (axis) => {
    const mask = new Uint8Array(voxelCount(GRID));
    const changed = paintLine(mask, GRID, [2, 2, 2], [2, 2, 2], { axis, radiusMm: 4, value: 1, allows: ANYWHERE });
    const step = [1, GRID.shape[0], GRID.shape[0] * GRID.shape[1]][axis];
    expect(new Set(changed.map((index) => Math.floor(index / step) % GRID.shape[axis]))).toEqual(new Set([2]));
  });

  it("is a disc in mm, whatever the voxel size", () => {
    const steps = discOf({ shape: [99, 99, 99], spacingMm: [0.5, 2, 5] }, { axis: 2, radiusMm: 4 });
    const reach = (axis: Axis) => Math.max(...steps.map((step) => step[axis]));
    expect([reach(0), reach(1), reach(2)]).toEqual([8, 2, 0]);
    for (const [i, j] of steps) expect(Math.hypot(i * 0.5, j * 2)).toBeLessThanOrEqual(4.000001);
  });

  it("of radius 0 is one voxel", () => {
    expect(discOf(GRID, { axis: 2, radiusMm: 0 })).toEqual([[0, 0, 0]]);
  });

  it("leaves no gap, however fast the pointer moves", () => {
    for (const to of [[6, 4, 1], [6, 0, 1], [0, 4, 1]] as Voxel[]) {
      const path = line([0, 0, 1], to);
      expect([path[0], path[path.length - 1]]).toEqual([[0, 0, 1], to]);
      path.slice(1).forEach((voxel, n) => expect(Math.max(...voxel.map((x, axis) => Math.abs(x - path[n][axis])))).toBe(1));
    }
  });

  it("at the border does not come out on the other side", () => {
    const mask = new Uint8Array(voxelCount(GRID));
    paintLine(mask, GRID, [0, 0, 0], [0, 0, 0], { axis: 2, radiusMm: 2, value: 1, allows: ANYWHERE });
    expect(mask[indexOf(GRID, [6, 0, 0])] + mask[indexOf(GRID, [6, 4, 0])]).toBe(0);
  });

  test.each(SEEDS)("changes only voxels in range and not locked, and tells exactly which (seed %i)", (seed) => {
    const random = randomOf(seed);
    const hu = Int16Array.from({ length: voxelCount(GRID) }, () => Math.floor(random() * 400 - 200));
    const locked = randomMask(seed + 50, 0.3);
    const before = randomMask(seed + 90, 0.3);
    const mask = before.slice();
    const brush = { axis: 2 as Axis, radiusMm: 3, value: 1 as const, allows: allowed(locked, hu, [-50, 80]) };
    const changed = paintLine(mask, GRID, [0, 0, 1], [6, 4, 1], brush);
    expect(difference(before, mask)).toEqual(runsOf(changed));
    for (const index of changed) expect(locked[index] === 0 && hu[index] >= -50 && hu[index] <= 80).toBe(true);
    const open = paintLine(before.slice(), GRID, [0, 0, 1], [6, 4, 1], { ...brush, allows: ANYWHERE });
    expect(changed).toEqual(open.filter((index) => !locked[index] && hu[index] >= -50 && hu[index] <= 80));
  });
});

describe("history", () => {
  test.each(SEEDS)("goes back and forth through every mask there was (seed %i)", (seed) => {
    const random = randomOf(seed);
    const mask = new Uint8Array(voxelCount(GRID));
    const history = new History();
    const past = [mask.slice()];
    for (let n = 0; n < 12; n++) {
      const change = runsOf(Array.from({ length: 5 }, () => Math.floor(random() * mask.length)));
      for (let r = 0; r < change.length; r += 2) for (let x = 0; x < change[r + 1]; x++) mask[change[r] + x] ^= 1;
      history.push(change);
      past.push(mask.slice());
    }
    for (let n = 11; n >= 0; n--) {
      history.undo(mask);
      expect(mask).toEqual(past[n]);
    }
    expect(history.undo(mask)).toBeNull();
    for (let n = 1; n <= 12; n++) {
      history.redo(mask);
      expect(mask).toEqual(past[n]);
    }
    expect([history.redo(mask), history.undoable, history.redoable]).toEqual([null, 12, 0]);
  });

  it("forgets what was undone when something new is done", () => {
    const mask = new Uint8Array(10);
    const history = new History();
    history.push(runsOf([1]));
    history.undo(mask);
    history.push(runsOf([2]));
    expect([history.undoable, history.redoable]).toEqual([1, 0]);
  });

  it("says that it dropped what takes too much memory", () => {
    const history = new History(4);
    for (const at of [1, 3]) history.push(runsOf([at]));
    expect([history.undoable, history.forgot]).toEqual([2, false]);
    history.push(runsOf([5]));
    expect([history.undoable, history.forgot]).toEqual([2, true]);
  });
});

describe("the mask in work", () => {
  const cube: Grid = { shape: [4, 4, 4], spacingMm: [1, 1, 1] };
  const empty = () => new Work(cube, new Int16Array(64), new Uint8Array(64));

  it("counts its voxels through changes, undo and redo", () => {
    const work = empty();
    const other = randomMask(4, 0.5, cube);
    work.become(other);
    const size = other.reduce((a, b) => a + b, 0);
    expect(work.size).toBe(size);
    work.undo();
    expect(work.size).toBe(0);
    work.redo();
    expect([work.size, work.voxels]).toEqual([size, other]);
  });

  it("becomes another mask, but for voxels that are forbidden", () => {
    const work = empty();
    work.become(Uint8Array.from({ length: 64 }, () => 1), (index) => index < 10);
    expect(work.voxels.slice(0, 11)).toEqual(Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
  });

  it("travels as its box alone, and as one empty voxel when it is empty", async () => {
    const work = empty();
    expect([(await work.parcel()).box, await gunzip((await work.parcel()).gzip)]).toEqual([
      { low: [0, 0, 0], high: [1, 1, 1] },
      new Uint8Array(1),
    ]);
    work.become(Uint8Array.from({ length: 64 }, (_, n) => (n === 21 || n === 22 ? 1 : 0)));
    expect((await work.parcel()).box).toEqual({ low: [1, 1, 1], high: [3, 2, 2] });
  });
});

test("neighbours give labels in the order asked for, and what is locked", () => {
  const neighbours = new Neighbours(6);
  neighbours.add("liver", 1, Uint8Array.from([1, 1, 0, 0, 0, 0]));
  neighbours.add("spleen", 2, Uint8Array.from([0, 1, 1, 0, 0, 0]));
  neighbours.setPrevious(Uint8Array.from([0, 0, 0, 0, 1, 1]));
  expect([...neighbours.labels(["liver", "spleen"], true)]).toEqual([1, 2, 2, 0, 3, 3]);
  expect([...neighbours.labels([null, "spleen"], false)]).toEqual([0, 2, 2, 0, 0, 0]);
  expect([...neighbours.locked(["liver"])!]).toEqual([1, 1, 0, 0, 0, 0]);
  expect(neighbours.locked([])).toBeNull();
  expect([neighbours.has("spleen", 2), neighbours.has("spleen", 3), neighbours.has("kidney", 0)]).toEqual([true, false, false]);
});
