// Painting, undo and tools on the mask in work; nothing happens while editing is blocked.
import { explain } from "../server/errors";
import type { ToolName } from "../server/types";
import { parseBox, place } from "../voxels/box";
import type { Axis, Voxel } from "../voxels/grid";
import { gunzip } from "../voxels/gzip";
import { Runs, runsOf } from "../voxels/runs";
import { allowed, Brush, paintLine } from "../voxels/stroke";
import type { Desk } from "./desk";
import type { Drafts } from "./drafts";
import type { Layers } from "./layers";
import { axisOf, Settings } from "./settings";
import { canEdit } from "./state";
import type { Work } from "./work";

export class Editor {
  private stroke: number[] | null = null;
  private brush: Brush | null = null;
  private locked: Uint8Array | null = null;

  constructor(
    private readonly desk: Desk,
    private readonly drafts: Drafts,
    private readonly layers: Layers,
  ) {}

  get painting(): boolean {
    return this.stroke !== null;
  }

  /** Organs whose voxels must not be painted changed, or were loaded. */
  lock(): void {
    this.locked = this.desk.neighbours?.locked(this.layers.locked().map(({ key }) => key)) ?? null;
  }

  /** Begin a stroke; false where painting is blocked. */
  begin(voxel: Voxel, axis: Axis): boolean {
    const { store, work } = this.desk;
    const { settings } = store.state;
    if (!work || settings.pen === "look" || !this.mayEdit() || this.waits()) return false;
    this.brush = this.brushOf(settings, axis, work);
    this.stroke = [];
    this.paint(voxel, voxel);
    return true;
  }

  paint(from: Voxel, to: Voxel): void {
    const { work, viewer } = this.desk;
    if (!this.stroke || !this.brush || !work) return;
    const changed = paintLine(work.voxels, work.grid, from, to, this.brush);
    if (!changed.length) return;
    for (const index of changed) this.stroke.push(index);
    viewer?.refresh(work.boxOfChange(runsOf(changed)));
  }

  /** The pen is lifted: the stroke is one change. */
  end(): void {
    const { stroke } = this;
    this.stroke = null;
    if (stroke?.length) this.made(runsOf(stroke));
  }

  undo(): void {
    this.travel((work) => work.undo());
  }

  redo(): void {
    this.travel((work) => work.redo());
  }

  private travel(move: (work: Work) => Runs | null): void {
    const { work } = this.desk;
    if (!work || this.painting || !this.mayEdit()) return;
    const change = move(work);
    if (change) this.show(work, change);
  }

  /** Let the server change the mask. */
  async use(tool: ToolName): Promise<void> {
    const { work, store } = this.desk;
    if (!work || !this.mayEdit() || this.waits()) return;
    if (!work.size) return this.desk.say("warn", "There is nothing drawn yet.");
    store.tell({ type: "working", working: `${tool} …` });
    try {
      await this.apply(work, tool);
    } catch (error) {
      this.desk.say("error", explain(error));
    } finally {
      store.tell({ type: "working", working: null });
    }
  }

  private async apply(work: Work, tool: ToolName): Promise<void> {
    const { desk } = this;
    const parcel = await work.parcel();
    const answer = await desk.ask(() => desk.server.tool(desk.task, tool, parcel, this.options(tool)), () => desk.work !== work);
    const mask = place(await gunzip(answer.gzip), work.grid, parseBox(answer.box, work.grid));
    if (desk.work !== work) return;
    const before = work.history.undoable;
    const change = work.become(mask, (index) => this.locked !== null && this.locked[index] !== 0);
    if (work.history.undoable > before) this.show(work, change);
    else desk.say("info", `${tool}: nothing to change.`);
  }

  private options(tool: ToolName): Record<string, string> {
    const { settings } = this.desk.store.state;
    if (tool === "interpolate" || tool === "fill") return { axis: String(axisOf(settings.view)) };
    const [i, j] = this.desk.work?.grid.spacingMm ?? [1, 1, 1];
    return tool === "grow" || tool === "shrink" ? { radius_mm: String(1.001 * Math.max(i, j)) } : {};
  }

  private made(change: Runs): void {
    this.desk.work?.record(change);
    this.desk.changed();
    this.drafts.touch();
  }

  private show(work: Work, change: Runs): void {
    this.desk.viewer?.refresh(work.boxOfChange(change));
    this.desk.changed();
    this.drafts.touch();
  }

  /** Locks hold from the moment they are set: nothing is painted before the locked organs are here. */
  private waits(): boolean {
    const waits = this.layers.waitsForLocks();
    if (waits) this.desk.say("warn", "Wait a moment: locked organs are loading.");
    return waits;
  }

  private mayEdit(): boolean {
    return canEdit(this.desk.store.state) && this.desk.trusted();
  }

  private brushOf(settings: Settings, axis: Axis, work: Work): Brush {
    const erases = settings.pen === "eraser";
    const range = settings.pen === "threshold" ? settings.range : null;
    const allows = erases ? () => true : allowed(this.locked, work.hu, range);
    return { axis, radiusMm: settings.radiusMm, value: erases ? 0 : 1, allows };
  }
}
