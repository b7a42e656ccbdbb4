// What the reviewer set: the pen, the view, the layers.
import type { Axis } from "../voxels/grid";

export type Pen = "look" | "brush" | "eraser" | "threshold";
export type ViewName = "axial" | "coronal" | "sagittal" | "all" | "solid";

export interface HuWindow {
  readonly name: string;
  readonly low: number;
  readonly high: number;
}

export const WINDOWS: readonly HuWindow[] = [
  { name: "Soft tissue", low: -160, high: 240 },
  { name: "Liver", low: -20, high: 180 },
  { name: "Lung", low: -1350, high: 150 },
  { name: "Bone", low: -450, high: 1050 },
  { name: "Brain", low: 0, high: 80 },
  { name: "Vessels", low: 0, high: 600 },
];

export const VIEWS: readonly { readonly name: ViewName; readonly title: string }[] = [
  { name: "axial", title: "Axial" },
  { name: "coronal", title: "Coronal" },
  { name: "sagittal", title: "Sagittal" },
  { name: "all", title: "All" },
  { name: "solid", title: "3-D" },
];

export const RADII_MM = [0, 1, 2, 3, 4, 6, 8, 10, 15, 20, 30] as const;

export interface Settings {
  readonly pen: Pen;
  readonly radiusMm: number;
  /** Range of the threshold brush in HU, both ends included. */
  readonly range: readonly [number, number];
  readonly view: ViewName;
  readonly window: HuWindow;
  readonly showMask: boolean;
  readonly showOthers: boolean;
  readonly showUncertainty: boolean;
  readonly showPrevious: boolean;
  readonly opacity: number;
  /** Organs not shown, and organs whose voxels must not be painted. */
  readonly hidden: readonly string[];
  readonly locked: readonly string[];
  /** Go on to the next task after a decision. */
  readonly advance: boolean;
}

export const SETTINGS: Settings = {
  pen: "look",
  radiusMm: 3,
  range: [-50, 200],
  view: "all",
  window: WINDOWS[0],
  showMask: true,
  showOthers: true,
  showUncertainty: false,
  showPrevious: false,
  opacity: 0.45,
  hidden: [],
  locked: [],
  advance: true,
};

/** The axis that a view's slices are stacked along; axial where a view shows several. */
export function axisOf(view: ViewName): Axis {
  return view === "sagittal" ? 0 : view === "coronal" ? 1 : 2;
}

export function otherRadius(radiusMm: number, step: 1 | -1): number {
  const at = RADII_MM.findIndex((radius) => radius >= radiusMm);
  return RADII_MM[Math.min(Math.max((at < 0 ? RADII_MM.length : at) + step, 0), RADII_MM.length - 1)];
}

export function nextWindow(now: HuWindow): HuWindow {
  return WINDOWS[(WINDOWS.findIndex((window) => window.name === now.name) + 1) % WINDOWS.length];
}

export function toggled(keys: readonly string[], key: string): readonly string[] {
  return keys.includes(key) ? keys.filter((other) => other !== key) : [...keys, key];
}
