// The only file, beside lean.ts, that knows niivue (0.69.0): the CT, the mask as its drawing layer, overlays, and where a pixel lies.
//
// niivue's own pen, undo, slice interpolation and grow-cut are not used: the page paints into the very array that niivue
// shows (`drawBitmap`, first axis fastest), so that what is seen and what is saved are one array.
import { DRAG_MODE, MULTIPLANAR_TYPE, NVImage, SHOW_RENDER, SLICE_TYPE } from "@niivue/niivue";
import type { HuWindow, ViewName } from "../review/settings";
import type { Box } from "../voxels/box";
import { boxOf, boxSize, union } from "../voxels/box";
import type { Axis, Grid, Voxel } from "../voxels/grid";
import { oneVoxel } from "../voxels/nifti";
import { LeanNiivue } from "./lean";
import { Tinted } from "./painting";
import { ofLabels, ofShare, ofWindow, Tints } from "./tints";

const DRAWING_TEXTURE = 33991; // gl.TEXTURE7, niivue's drawing layer

const SLICES: Record<ViewName, SLICE_TYPE> = {
  axial: SLICE_TYPE.AXIAL,
  coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL,
  all: SLICE_TYPE.MULTIPLANAR,
  solid: SLICE_TYPE.RENDER,
};

/** A voxel under the pointer, and the axis that its tile cuts through. */
export interface Spot {
  readonly voxel: Voxel;
  readonly axis: Axis;
  readonly pixelsPerMm: number;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

export type Colour = readonly [number, number, number];

export interface ViewerEvents {
  readonly onMove: (voxel: Voxel) => void;
  readonly onLost: () => void;
}

type Layer = "labels" | "uncertainty";

export class Viewer {
  private layers: Partial<Record<Layer, NVImage>> = {};
  private grid: Grid | null = null;
  /** The CT's file. */
  private header: ArrayBuffer | null = null;
  /** Where the card's mask may have voxels; outside it is empty. */
  private drawn: Box | null = null;
  private lost = false;

  private constructor(
    private readonly nv: LeanNiivue,
    readonly canvas: HTMLCanvasElement,
  ) {}

  static async attach(host: HTMLElement, events: ViewerEvents): Promise<Viewer> {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-label", "CT viewer");
    canvas.setAttribute("role", "img");
    host.replaceChildren(canvas);
    const viewer = new Viewer(new LeanNiivue(OPTIONS), canvas);
    viewer.watch(events);
    await viewer.nv.attachToCanvas(canvas, false);
    if (viewer.nv.hasNoCard) {
      viewer.nv.opts.multiplanarShowRender = SHOW_RENDER.NEVER;
      host.dataset.flat = "";
    }
    return viewer;
  }

  private watch(events: ViewerEvents): void {
    this.nv.onLocationChange = (location: unknown) => {
      const [i, j, k] = (location as { vox: ArrayLike<number> }).vox as unknown as Voxel;
      events.onMove([i, j, k]);
    };
    this.canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      this.lost = true;
      events.onLost();
    });
  }

  /** Show a CT (a NIfTI-1 file); whatever was shown before is gone. */
  async showImage(bytes: ArrayBuffer, grid: Grid, window: HuWindow): Promise<void> {
    this.grid = null;
    this.layers = {};
    this.nv.volumes = [];
    if (this.nv.drawBitmap) this.nv.closeDrawing();
    const image = await NVImage.loadFromUrl({ url: bytes, name: "ct.nii", cal_min: window.low, cal_max: window.high });
    this.nv.tint(image, this.grey(image, window));
    this.nv.addVolume(image);
    const dims = this.nv.back?.dims ?? [];
    if (grid.shape.some((n, axis) => dims[axis + 1] !== n)) throw new RangeError("the viewer sees another grid than the server");
    this.fit();
    this.header = bytes;
    this.grid = grid;
  }

  /** Let niivue show this very array as its drawing layer. */
  showMask(voxels: Uint8Array, [red, green, blue]: Colour): void {
    const dims = this.nv.back?.dims;
    if (!dims) return;
    if (!this.nv.drawBitmap) {
      this.nv.drawTexture = this.nv.r8Tex(this.nv.drawTexture, DRAWING_TEXTURE, dims);
      this.drawn = null;
    }
    const before = this.drawn;
    this.drawn = this.grid && boxOf(voxels, this.grid);
    this.nv.drawLut = drawingColours([red, green, blue]);
    this.nv.drawBitmap = voxels;
    this.nv.refreshColormaps();
    for (const box of [before, this.drawn]) if (box) this.upload(box);
    this.nv.drawScene();
  }

  hideMask(): void {
    if (this.nv.drawBitmap) this.nv.closeDrawing();
  }

  /** Is this array what the screen shows? Nothing may be edited or saved where it is not. */
  shows(voxels: Uint8Array): boolean {
    const alive = !this.lost && !this.nv.gl.isContextLost();
    return alive && this.grid !== null && this.nv.drawBitmap === voxels && this.nv.back?.dims !== undefined;
  }

  /** Send voxels that changed to the graphics card: those of a box, or all. */
  refresh(box: Box | null): void {
    if (!this.grid) return;
    const changed = box ?? { low: [0, 0, 0], high: this.grid.shape };
    this.drawn = this.drawn ? union(this.drawn, changed) : changed;
    this.upload(changed);
    this.nv.drawScene();
  }

  private upload(box: Box): void {
    const { gl, drawBitmap: voxels } = this.nv;
    const { grid } = this;
    if (!voxels || !grid) return;
    const [i, j, k] = box.low;
    const [width, height, depth] = boxSize(box);
    gl.activeTexture(DRAWING_TEXTURE);
    gl.bindTexture(gl.TEXTURE_3D, this.nv.drawTexture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, grid.shape[0]);
    gl.pixelStorei(gl.UNPACK_IMAGE_HEIGHT, grid.shape[1]);
    const start = i + grid.shape[0] * (j + grid.shape[1] * k);
    gl.texSubImage3D(gl.TEXTURE_3D, 0, i, j, k, width, height, depth, gl.RED, gl.UNSIGNED_BYTE, voxels, start);
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, 0);
    gl.pixelStorei(gl.UNPACK_IMAGE_HEIGHT, 0);
  }

  /** Show labels (0 is nothing, n has the nth colour); null takes them away. */
  async showLabels(voxels: Uint8Array | null, colours: readonly Colour[], opacity: number): Promise<void> {
    await this.show("labels", voxels, ofLabels(colours, opacity));
  }

  /** Show a share of 0 to 255, of which little is not worth a look; null takes it away. */
  async showUncertainty(voxels: Uint8Array | null, opacity: number): Promise<void> {
    await this.show("uncertainty", voxels, ofShare(this.nv.colormap("inferno"), 25, 255, opacity));
  }

  private async show(name: Layer, voxels: Uint8Array | null, tints: Tints): Promise<void> {
    const { grid } = this;
    const layer = this.layers[name] ?? (voxels && (await this.newLayer(name)));
    if (!layer || this.grid !== grid) return; // another CT came meanwhile
    const isNew = this.layers[name] === undefined;
    if (!voxels) {
      delete this.layers[name];
      return this.nv.removeVolume(layer);
    }
    this.layers[name] = layer;
    this.nv.tint(layer, { voxels, tints });
    if (isNew) this.nv.addVolume(layer);
    else this.nv.updateGLVolume();
  }

  /** niivue is to know that there is one; what is seen of it the page paints. */
  private async newLayer(name: Layer): Promise<NVImage | null> {
    return this.header && NVImage.loadFromUrl({ url: oneVoxel(this.header), name: `${name}.nii`, cal_min: 0, cal_max: 1 });
  }

  setView(view: ViewName): void {
    this.nv.setSliceType(SLICES[view]);
  }

  setWindow(window: HuWindow): void {
    const image = this.nv.volumes[0];
    if (!image) return;
    this.nv.tint(image, this.grey(image, window));
    this.nv.updateGLVolume();
  }

  private grey(image: NVImage, { low, high }: HuWindow): Tinted {
    return { voxels: image.img as Int16Array, tints: ofWindow(this.nv.colormap("gray"), low, high) };
  }

  setMaskOpacity(opacity: number): void {
    this.nv.drawRimOpacity = opacity > 0 ? Math.min(1, opacity + 0.4) : 0;
    this.nv.setDrawOpacity(opacity);
  }

  /** The whole slice again, not moved nor enlarged. */
  fit(): void {
    this.nv.setPan2Dxyzmm([0, 0, 0, 1]);
  }

  moveTo(voxel: Voxel): void {
    if (!this.grid) return;
    this.nv.scene.crosshairPos = this.nv.vox2frac([...voxel]);
    this.nv.createOnLocationChange();
    this.nv.drawScene();
  }

  moveBy(axis: Axis, step: number): void {
    const by: [number, number, number] = [0, 0, 0];
    by[axis] = step;
    if (this.grid) this.nv.moveCrosshairInVox(...by);
  }

  at(): Voxel {
    const [i, j, k] = this.nv.frac2vox(this.nv.scene.crosshairPos) as unknown as Voxel;
    return [i, j, k];
  }

  /** The voxel under a point of the window, if a slice lies there. */
  spotAt(point: Point): Spot | null {
    const [x, y] = this.canvasPixels(point);
    const tile = this.nv.tileIndex(x, y);
    const slice = this.nv.screenSlices[tile];
    if (!this.grid || !slice || slice.axCorSag > SLICE_TYPE.SAGITTAL) return null;
    const frac = this.nv.screenXY2TextureFrac(x, y, tile, true);
    if (frac[0] < 0) return null;
    const [i, j, k] = this.nv.frac2vox(frac) as unknown as Voxel;
    const pixelsPerMm = slice.leftTopWidthHeight[2] / Math.abs(slice.fovMM[0]) / this.ratio();
    return { voxel: [i, j, k], axis: (2 - slice.axCorSag) as Axis, pixelsPerMm };
  }

  /** Where a voxel's middle lies in the window, in the slices shown now; null where it is not shown. */
  pointOf(voxel: Voxel): Point | null {
    const found = this.nv.frac2canvasPosWithTile(this.nv.vox2frac([...voxel]));
    if (!found) return null;
    const { left, top } = this.canvas.getBoundingClientRect();
    return { x: left + found.pos[0] / this.ratio(), y: top + found.pos[1] / this.ratio() };
  }

  private canvasPixels({ x, y }: Point): [number, number] {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [(x - left) * this.ratio(), (y - top) * this.ratio()];
  }

  private ratio(): number {
    return this.nv.uiData.dpr || 1;
  }

  dispose(): void {
    this.nv.cleanup();
    this.canvas.remove();
  }
}

const OPTIONS = {
  backColor: [0, 0, 0, 1],
  crosshairColor: [0.35, 0.8, 1, 0.55],
  crosshairWidth: 0.15,
  crosshairWidthUnit: "percent" as const,
  crosshairGap: 4,
  fontColor: [0.75, 0.78, 0.82, 1],
  show3Dcrosshair: true,
  isRadiologicalConvention: true,
  isForceMouseClickToVoxelCenters: true,
  isNearestInterpolation: false,
  multiplanarLayout: MULTIPLANAR_TYPE.GRID,
  multiplanarShowRender: SHOW_RENDER.ALWAYS,
  dragMode: DRAG_MODE.pan,
  dragAndDropEnabled: false,
  clipPlaneHotKey: "",
  cycleClipPlaneHotKey: "",
  viewModeHotKey: "",
  loadingText: "",
  logLevel: "error" as const,
  maxDrawUndoBitmaps: 1,
  tileMargin: 4,
};

function drawingColours(colour: Colour) {
  const lut = new Uint8ClampedArray(256 * 4);
  lut.set([...colour, 255], 4);
  return { lut, labels: Array.from({ length: 256 }, (_, n) => (n ? "mask" : "")) };
}
