// Volumes on one grid, one over the other, as the colours of a texture.
import { over, Tints } from "./tints";

/** A volume on the CT's grid, and its colours. */
export interface Tinted {
  readonly voxels: Int16Array | Uint8Array;
  readonly tints: Tints;
}

/** Are these the very same arrays? */
export function same(layers: readonly Tinted[], others: readonly Tinted[]): boolean {
  const pairs = layers.map(({ voxels, tints }, n) => voxels === others[n]?.voxels && tints === others[n].tints);
  return layers.length === others.length && pairs.every(Boolean);
}

/** Of a run of voxels, from a start on, so many. */
type Asked = (start: number, size: number) => boolean;

/** Asks whether all voxels of a run have the same colour in the nth of these layers as in the nth of those. */
export function alike(layers: readonly Tinted[], others: readonly Tinted[]): Asked {
  const [more, fewer] = layers.length < others.length ? [others, layers] : [layers, others];
  const each = more.map((one, n) => (n < fewer.length ? looksAs(one, fewer[n]) : isClear(one)));
  return (start, size) => each.every((is) => is(start, size));
}

function looksAs({ voxels, tints }: Tinted, { voxels: others, tints: otherTints }: Tinted): Asked {
  const { lowest, colours } = tints;
  const { lowest: lowestOther, colours: coloursOther } = otherTints;
  if (sameColours(tints, otherTints)) {
    return (start, size) => {
      for (let at = start; at < start + size; at++) if (voxels[at] !== others[at]) return false;
      return true;
    };
  }
  return (start, size) => {
    for (let at = start; at < start + size; at++) {
      if (colours[voxels[at] - lowest] !== coloursOther[others[at] - lowestOther]) return false;
    }
    return true;
  };
}

function sameColours(one: Tints, other: Tints): boolean {
  if (one === other) return true;
  return one.lowest === other.lowest && one.colours.every((colour, n) => colour === other.colours[n]);
}

function isClear({ voxels, tints: { lowest, colours } }: Tinted): Asked {
  return (start, size) => {
    for (let at = start; at < start + size; at++) if (colours[voxels[at] - lowest] !== 0) return false;
    return true;
  };
}

/** The first row of a slice that is not so, and the row behind the last one; null where all rows are. */
export function rowsThatAreNot(so: Asked, start: number, width: number, height: number): [number, number] | null {
  const is = (row: number) => so(start + row * width, width);
  let [first, behind] = [0, height];
  while (first < height && is(first)) first++;
  if (first === height) return null;
  while (is(behind - 1)) behind--;
  return [first, behind];
}

/** The layers' colours in a run of voxels of theirs, each over the one before. */
export function paint(run: Uint32Array, layers: readonly Tinted[], start: number): void {
  run.fill(0);
  for (const { voxels, tints } of layers) {
    const { colours, lowest } = tints;
    for (let at = 0; at < run.length; at++) {
      const colour = colours[voxels[start + at] - lowest];
      if (colour !== 0) run[at] = run[at] === 0 ? colour : over(colour, run[at]);
    }
  }
}
