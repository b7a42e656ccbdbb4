// niivue (0.69.0) without its passes over whole volumes.
//
// niivue sends each volume's numbers to the card, colours every voxel there, derives a gradient that lights surfaces
// (this page lights none), and does all of it again for all volumes whenever one changes: five textures of the CT's
// size; and where no graphics card draws, a minute for 512x512x300. Here the page colours what changed, a slice at a
// time, and niivue is shown one voxel of each volume to do the rest of its work on.
import { Niivue, NVImage } from "@niivue/niivue";
import { over, Tints } from "./tints";

const CT_TEXTURE = 33984; // gl.TEXTURE0
const OVERLAY_TEXTURE = 33986; // gl.TEXTURE2
const BLENDING_TEXTURE = 33994; // gl.TEXTURE10
const OURS: readonly number[] = [CT_TEXTURE, OVERLAY_TEXTURE, BLENDING_TEXTURE];
const NO_CARD = /swiftshader|llvmpipe|softpipe|software|basic render/i;

type Texture = WebGLTexture | null;

/** A volume on the CT's grid, and its colours. */
interface Tinted {
  readonly voxels: Int16Array | Uint8Array;
  readonly tints: Tints;
}

export class LeanNiivue extends Niivue {
  private readonly tints = new WeakMap<NVImage, Tints>();
  /** What the textures of the CT and of the overlays were made of. */
  private readonly made: [readonly unknown[], readonly unknown[]] = [[], []];

  /** Give a volume its colours; to be seen, it has to be in `volumes` and `updateGLVolume()` called. */
  tint(image: NVImage, tints: Tints): void {
    this.tints.set(image, tints);
  }

  /** Every change of a volume comes by here for all of them, the CT (layer 0) first. */
  override refreshLayers(image: NVImage, layer: number): void {
    const { gl } = this;
    const which = layer === 0 ? 0 : 1;
    const images = layer === 0 ? [image] : this.overlays;
    const needed = images.flatMap((one) => [one.img, this.tints.get(one)]);
    const made = this.made[which];
    if (needed.length === made.length && needed.every((part, n) => part === made[n])) return this.countOverlays();
    if (layer === 1) gl.deleteTexture(this.overlayTexture);
    super.refreshLayers(oneVoxelOf(image), layer);
    if (layer === 0) {
      gl.deleteTexture(this.volumeTexture);
      this.volumeTexture = this.painted(CT_TEXTURE, images);
    } else if (layer === images.length) {
      gl.deleteTexture(this.overlayTexture);
      this.overlayTexture = this.overlayTextureID = this.painted(OVERLAY_TEXTURE, images);
    } else return;
    this.made[which] = needed;
  }

  /** Where niivue would colour a volume itself a pixel a slice will do. */
  override rgbaTex(texture: Texture, unit: number, dims: number[], isInit = false): Texture {
    return super.rgbaTex(texture, unit, OURS.includes(unit) ? [dims[0], 1, 1, dims[3]] : dims, isInit);
  }

  private painted(unit: number, images: readonly NVImage[]): Texture {
    const { gl } = this;
    const dims = this.back?.dims ?? [3, 1, 1, 1];
    const [, width, height, depth] = dims;
    const layers = images.flatMap((image) => this.tinted(image));
    const slice = new Uint32Array(width * height);
    const texture = super.rgbaTex(null, unit, dims);
    for (let k = 0; k < depth; k++) {
      if (!paint(slice, layers, k * slice.length)) continue;
      gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, k, width, height, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(slice.buffer));
    }
    return texture;
  }

  private tinted(image: NVImage): Tinted[] {
    const tints = this.tints.get(image);
    return tints ? [{ voxels: image.img as Int16Array | Uint8Array, tints }] : [];
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

/** The layers' colours in a slice of theirs, each over the one before; false where there is nothing in it. */
function paint(slice: Uint32Array, layers: readonly Tinted[], start: number): boolean {
  let seen = 0;
  slice.fill(0);
  for (const { voxels, tints } of layers) {
    const { colours, lowest } = tints;
    for (let at = 0; at < slice.length; at++) {
      const colour = colours[voxels[start + at] - lowest];
      if (colour === 0) continue;
      slice[at] = slice[at] === 0 ? colour : over(colour, slice[at]);
      seen = 1;
    }
  }
  return seen === 1;
}

/** The same image to whoever asks where it lies, but with one voxel. */
function oneVoxelOf(image: NVImage): NVImage {
  const hdr = { value: { ...image.hdr, dims: [3, 1, 1, 1, 1, 1, 1, 1] } };
  return Object.create(image, { hdr, img: { value: image.img?.slice(0, 1) } }) as NVImage;
}
