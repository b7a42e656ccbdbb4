// Colours of voxels: RGBA in one number each, as a texture's bytes are read (red is the lowest).

/** The colour of every value of a volume, the lowest value first; 0 is nothing at all. */
export interface Tints {
  readonly lowest: number;
  readonly colours: Uint32Array;
}

const INT16: readonly [number, number] = [-32768, 32767];
const UINT8: readonly [number, number] = [0, 255];

/** A CT in a window of HU: a map of 256 colours, stretched from low to high. */
export function ofWindow(map: ArrayLike<number>, low: number, high: number): Tints {
  return tints(INT16, (hu) => stretched(map, hu, low, high));
}

/** A share of 0 to 255: nothing up to low, above it a map of 256 colours, each as dense as the opacity says. */
export function ofShare(map: ArrayLike<number>, low: number, high: number, opacity: number): Tints {
  return tints(UINT8, (value) => (value > low ? dense(stretched(map, value, low, high), opacity) : 0));
}

/** Labels: 0 is nothing, n has the nth colour. */
export function ofLabels(colours: readonly (readonly [number, number, number])[], opacity: number): Tints {
  return tints(UINT8, (label) => {
    const colour = colours[label - 1];
    return colour ? dense(rgba(...colour, 255), opacity) : 0;
  });
}

/** One colour over another. */
export function over(front: number, back: number): number {
  const [r, g, b, a] = parts(front);
  const [red, green, blue, behind] = parts(back);
  const [share, rest] = [a / 255, (behind / 255) * (1 - a / 255)];
  const alpha = share + rest;
  if (alpha === 0) return 0;
  const mixed = [r * share + red * rest, g * share + green * rest, b * share + blue * rest].map((x) => Math.round(x / alpha));
  return rgba(mixed[0], mixed[1], mixed[2], Math.round(alpha * 255));
}

function tints([lowest, highest]: readonly [number, number], colour: (value: number) => number): Tints {
  return { lowest, colours: Uint32Array.from({ length: highest - lowest + 1 }, (_, n) => colour(n + lowest)) };
}

function stretched(map: ArrayLike<number>, value: number, low: number, high: number): number {
  const at = 4 * Math.min(255, Math.max(0, Math.round((256 * (value - low)) / Math.max(1e-5, high - low) - 0.5)));
  return rgba(map[at], map[at + 1], map[at + 2], map[at + 3]);
}

function dense(colour: number, opacity: number): number {
  const [red, green, blue] = parts(colour);
  return rgba(red, green, blue, Math.round(255 * opacity));
}

function parts(colour: number): [number, number, number, number] {
  return [colour & 255, (colour >>> 8) & 255, (colour >>> 16) & 255, colour >>> 24];
}

export function rgba(red: number, green: number, blue: number, alpha: number): number {
  return (red | (green << 8) | (blue << 16) | (alpha << 24)) >>> 0;
}
