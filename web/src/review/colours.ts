// Colours of organs: the cohort's own, else a palette that colour-blind eyes tell apart (Okabe and Ito, 2008), on black.
import type { Organ } from "../server/types";

const PALETTE = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2", "#b8e986", "#c3b1ff", "#8fd3c8"];

/** Every organ with a colour. */
export function coloured(organs: readonly Organ[]): Organ[] {
  return organs.map((organ, n) => ({ ...organ, colour: organ.colour || PALETTE[n % PALETTE.length] }));
}

export function channels(hex: string): readonly [number, number, number] {
  const value = parseInt(hex.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}
