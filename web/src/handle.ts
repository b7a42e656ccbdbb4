// `window.smiler`: a small handle for the browser's console, to look at what the page knows. It changes nothing.
import type { Reviewer } from "./review/reviewer";
import { boxOf } from "./voxels/box";
import type { Voxel } from "./voxels/grid";

export interface Handle {
  /** All that the page knows, but for voxels. */
  readonly state: () => unknown;
  /** Voxels set in the mask in work, and the box around them. */
  readonly mask: () => { voxels: number; box: unknown } | null;
  /** Where a voxel [i, j, k] of the RAS+ grid lies in the window, or null. */
  readonly pointOf: (voxel: Voxel) => { x: number; y: number } | null;
  /** The voxel under a point of the window, or null. */
  readonly voxelAt: (x: number, y: number) => Voxel | null;
  /** Move the crosshair to a voxel. */
  readonly look: (voxel: Voxel) => void;
}

export function handleOf({ desk }: Reviewer): Handle {
  return {
    state: () => structuredClone(desk.store.state),
    mask: () => desk.work && { voxels: desk.work.size, box: boxOf(desk.work.voxels, desk.work.grid) },
    pointOf: (voxel) => desk.viewer?.pointOf(voxel) ?? null,
    voxelAt: (x, y) => desk.viewer?.spotAt({ x, y })?.voxel ?? null,
    look: (voxel) => desk.viewer?.moveTo(voxel),
  };
}
