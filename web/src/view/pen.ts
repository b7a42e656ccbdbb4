// The pointer over the viewer: strokes while a pen is chosen, niivue's own crosshair otherwise; and the brush's outline.
import type { Axis, Voxel } from "../voxels/grid";
import type { Spot, Viewer } from "./viewer";

/** Pixels of a wheel event that make one step. */
const NOTCH = 40;

export interface PenUser {
  readonly viewer: () => Viewer | null;
  /** Is a pen chosen, so that the left button paints? */
  readonly draws: () => boolean;
  readonly radiusMm: () => number;
  readonly resize: (step: 1 | -1) => void;
  readonly begin: (voxel: Voxel, axis: Axis) => boolean;
  readonly paint: (from: Voxel, to: Voxel) => void;
  readonly end: () => void;
}

export class PointerPen {
  private last: Spot | null = null;
  private turned = 0;

  constructor(
    private readonly host: HTMLElement,
    private readonly outline: HTMLElement,
    private readonly user: PenUser,
  ) {
    const capture = { capture: true };
    host.addEventListener("pointerdown", (event) => this.down(event), capture);
    host.addEventListener("pointermove", (event) => this.move(event), capture);
    host.addEventListener("pointerup", () => this.up(), capture);
    host.addEventListener("pointercancel", () => this.up(), capture);
    host.addEventListener("lostpointercapture", () => this.up(), capture);
    host.addEventListener("pointerleave", () => this.hide());
    host.addEventListener("wheel", (event) => this.wheel(event), { capture: true, passive: false });
    host.addEventListener("touchstart", (event) => this.user.draws() && event.stopPropagation(), capture);
  }

  private down(event: PointerEvent): void {
    if (event.button !== 0 || event.shiftKey || event.ctrlKey || !this.user.draws()) return;
    const spot = this.user.viewer()?.spotAt(event);
    if (!spot) return;
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur(); // what is typed counts; keys are commands again
    if (!this.user.begin(spot.voxel, spot.axis)) return;
    event.preventDefault(); // no mouse event follows: niivue does not see the stroke
    this.host.setPointerCapture(event.pointerId);
    this.last = spot;
  }

  private move(event: PointerEvent): void {
    this.drawOutline(event);
    if (!this.last) return;
    event.preventDefault();
    for (const point of event.getCoalescedEvents?.() ?? [event]) this.follow(point);
  }

  private follow(event: PointerEvent): void {
    const spot = this.user.viewer()?.spotAt(event);
    if (!spot || !this.last || spot.axis !== this.last.axis) return;
    this.user.paint(this.last.voxel, spot.voxel);
    this.last = spot;
  }

  private up(): void {
    if (!this.last) return;
    this.last = null;
    this.user.end();
  }

  /** Wheel: slices of the tile under the pointer; with shift the pen's size; with control niivue's zoom. */
  private wheel(event: WheelEvent): void {
    const viewer = this.user.viewer();
    const spot = viewer?.spotAt(event);
    if (!viewer || !spot || event.ctrlKey) return;
    event.preventDefault();
    event.stopPropagation();
    const step = this.notch(event);
    if (step && event.shiftKey) this.user.resize(step);
    else if (step && !this.last) viewer.moveBy(spot.axis, step);
  }

  /** One step a notch of a wheel, and as much of a touchpad's small movements. */
  private notch(event: WheelEvent): 1 | -1 | 0 {
    const delta = event.deltaY || event.deltaX;
    this.turned += event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? delta : delta * NOTCH;
    if (Math.abs(this.turned) < NOTCH) return 0;
    const step = this.turned < 0 ? 1 : -1;
    this.turned = 0;
    return step;
  }

  private drawOutline(event: PointerEvent): void {
    const spot = this.user.draws() ? this.user.viewer()?.spotAt(event) : null;
    if (!spot) return this.hide();
    const size = Math.max(2 * this.user.radiusMm() * spot.pixelsPerMm, 6);
    const { left, top } = this.host.getBoundingClientRect();
    const { style } = this.outline;
    style.display = "block";
    style.width = style.height = `${size}px`;
    style.transform = `translate(${event.clientX - left - size / 2}px, ${event.clientY - top - size / 2}px)`;
  }

  private hide(): void {
    this.outline.style.display = "none";
  }
}
