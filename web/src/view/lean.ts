// niivue (0.69.0) without its passes over whole volumes.
//
// niivue sends each volume's numbers to the card, colours every voxel there, derives a gradient that lights surfaces
// (this page lights none), and does all of it again for all volumes whenever one changes: five textures of the CT's
// size; and where no graphics card draws, a minute for 512x512x300. Here the page colours what changed, a slice at a
// time, and niivue is shown one voxel of each volume to do the rest of its work on.
import { Niivue, NVImage } from "@niivue/niivue";
import { alike, paint, rowsThatAreNot, same, Tinted } from "./painting";

const CT_TEXTURE = 33984; // gl.TEXTURE0
const OVERLAY_TEXTURE = 33986; // gl.TEXTURE2
const BLENDING_TEXTURE = 33994; // gl.TEXTURE10
const OURS: readonly number[] = [CT_TEXTURE, OVERLAY_TEXTURE, BLENDING_TEXTURE];
const NO_CARD = /swiftshader|llvmpipe|softpipe|software|basic render/i;

type Texture = WebGLTexture | null;

/** A texture of the CT's size, and what it was painted with. */
interface Painted {
  readonly texture: Texture;
  readonly dims: readonly number[];
  readonly layers: readonly Tinted[];
}

export class LeanNiivue extends Niivue {
  private readonly seen = new WeakMap<NVImage, Tinted>();
  private ct: Painted | null = null;
  private overlay: Painted | null = null;

  /** What is seen of a volume; it has to be in `volumes`, too, and `updateGLVolume()` called. */
  tint(image: NVImage, seen: Tinted): void {
    this.seen.set(image, seen);
  }

  /** Every change of a volume comes by here for all of them, the CT (layer 0) first. */
  override refreshLayers(image: NVImage, layer: number): void {
    const before = layer === 0 ? this.ct : this.overlay;
    const images = layer === 0 ? [image] : this.overlays;
    const layers = images.flatMap((one) => this.seen.get(one) ?? []);
    if (before && same(layers, before.layers)) return this.countOverlays();
    if (layer === 0) this.volumeTexture = null; // niivue makes one of its own, in place of which the page's is shown
    super.refreshLayers(oneVoxelOf(image), layer);
    if (layer === 0) {
      this.gl.deleteTexture(this.volumeTexture);
      this.ct = this.painted(CT_TEXTURE, layers, before);
      this.volumeTexture = this.ct.texture;
    } else if (layer === images.length) {
      this.gl.deleteTexture(this.overlayTexture);
      this.overlay = this.painted(OVERLAY_TEXTURE, layers, before);
      this.overlayTexture = this.overlayTextureID = this.overlay.texture;
    }
  }

  /** Where niivue would colour a volume itself a pixel a slice will do. */
  override rgbaTex(texture: Texture, unit: number, dims: number[], isInit = false): Texture {
    return super.rgbaTex(texture, unit, OURS.includes(unit) ? [dims[0], 1, 1, dims[3]] : dims, isInit);
  }

  /** The texture of these layers: the one there was before, with the rows that look otherwise painted anew. */
  private painted(unit: number, layers: readonly Tinted[], before: Painted | null): Painted {
    const { gl } = this;
    const dims = [...(this.back?.dims ?? [3, 1, 1, 1])];
    const [, width, height, depth] = dims;
    const kept = before && gl.isTexture(before.texture) && dims.every((n, axis) => n === before.dims[axis]) ? before : null;
    if (!kept) gl.deleteTexture(before?.texture ?? null);
    const texture = kept ? kept.texture : super.rgbaTex(null, unit, dims);
    gl.activeTexture(unit);
    gl.bindTexture(gl.TEXTURE_3D, texture);
    const asShown = alike(layers, kept?.layers ?? []);
    const slice = new Uint32Array(width * height);
    for (let k = 0; k < depth; k++) {
      const rows = rowsThatAreNot(asShown, k * slice.length, width, height);
      if (!rows) continue;
      const [first, behind] = rows;
      const run = slice.subarray(0, (behind - first) * width);
      paint(run, layers, k * slice.length + first * width);
      const bytes = new Uint8Array(run.buffer, 0, run.byteLength);
      gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, first, k, width, behind - first, 1, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
    }
    return { texture, dims, layers };
  }

  /** What niivue tells its shaders behind each layer, in case that no layer follows. */
  private countOverlays(): void {
    for (const shader of [this.renderShader, this.pickingImageShader, this.sliceMMShader]) {
      shader?.use(this.gl);
      if (shader) this.gl.uniform1f(shader.uniforms.overlays, this.overlays.length);
    }
  }

  /** Does the processor draw, in place of a graphics card? */
  get hasNoCard(): boolean {
    const told = this.gl.getExtension("WEBGL_debug_renderer_info");
    return NO_CARD.test(String(this.gl.getParameter(told ? told.UNMASKED_RENDERER_WEBGL : this.gl.RENDERER)));
  }
}

/** niivue goes through all voxels for the range of grey values; here windows say it. */
NVImage.prototype.calMinMax = function (this: NVImage): number[] {
  const range = [this.hdr?.cal_min ?? 0, this.hdr?.cal_max ?? 0] as const;
  [this.robust_min, this.robust_max] = [this.global_min, this.global_max] = [this.cal_min, this.cal_max] = range;
  return [...range, ...range];
};

/** The same image to whoever asks where it lies, but with one voxel. */
function oneVoxelOf(image: NVImage): NVImage {
  const hdr = { value: { ...image.hdr, dims: [3, 1, 1, 1, 1, 1, 1, 1] } };
  return Object.create(image, { hdr, img: { value: image.img?.slice(0, 1) } }) as NVImage;
}
