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

/** Has every voxel of a run the same colour in the nth of these layers as in the nth of those? None is no colour. */
export function alike(layers: readonly Tinted[], others: readonly Tinted[], start: number, size: number): boolean {
  const [more, fewer] = layers.length < others.length ? [others, layers] : [layers, others];
  return more.every((one, n) => (n < fewer.length ? looksAs(one, fewer[n], start, size) : isClear(one, start, size)));
}

function looksAs(one: Tinted, other: Tinted, start: number, size: number): boolean {
  const { lowest, colours } = one.tints;
  const { lowest: lowestOther, colours: coloursOther } = other.tints;
  for (let at = start; at < start + size; at++) {
    if (colours[one.voxels[at] - lowest] !== coloursOther[other.voxels[at] - lowestOther]) return false;
  }
  return true;
}

function isClear({ voxels, tints: { lowest, colours } }: Tinted, start: number, size: number): boolean {
  for (let at = start; at < start + size; at++) if (colours[voxels[at] - lowest] !== 0) return false;
  return true;
}

/** The layers' colours in a slice that begins at a voxel of theirs, each over the one before. */
export function paint(slice: Uint32Array, layers: readonly Tinted[], start: number): void {
  slice.fill(0);
  for (const { voxels, tints } of layers) {
    const { colours, lowest } = tints;
    for (let at = 0; at < slice.length; at++) {
      const colour = colours[voxels[start + at] - lowest];
      if (colour !== 0) slice[at] = slice[at] === 0 ? colour : over(colour, slice[at]);
    }
  }
}
