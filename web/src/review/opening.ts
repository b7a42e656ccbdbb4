// Opening a task: the CT, the organ's mask, the draft that was left, then what lies beside it.
import { explain, Refused, Unreachable } from "../server/errors";
import type { CaseInfo, CaseOrgan, Task } from "../server/types";
import { parseBox, place } from "../voxels/box";
import { Grid, voxelCount } from "../voxels/grid";
import { gunzip } from "../voxels/gzip";
import { readImage, Volume } from "../voxels/nifti";
import { unpack } from "../voxels/parcel";
import type { Layers } from "./layers";
import { channels } from "./colours";
import type { Desk } from "./desk";
import { Neighbours } from "./neighbours";
import { Work } from "./work";

const LEASE_S = 180;

/** The CT on the screen. */
interface Shown {
  readonly id: string;
  readonly grid: Grid;
  readonly volume: Volume<Int16Array>;
}

/** A draft as a whole mask, and the revision it was drawn over. */
interface Restored {
  readonly mask: Uint8Array;
  readonly base: number;
}

export class Opening {
  private image: Shown | null = null;
  private turn = 0;
  private last: Promise<void> = Promise.resolve();

  constructor(
    private readonly desk: Desk,
    private readonly layers: Layers,
  ) {}

  /** Open a task; a later call overtakes one that is still under way, but they never show things at the same time. */
  open(task: Task): Promise<void> {
    const turn = ++this.turn;
    const stale = () => turn !== this.turn;
    this.desk.work = null;
    this.desk.store.tell({ type: "opening", task });
    this.last = this.last.then(() => this.tryLoad(task, stale));
    return this.last;
  }

  private async tryLoad(task: Task, stale: () => boolean): Promise<void> {
    try {
      if (!stale()) await this.load(task, stale);
    } catch (error) {
      if (!stale()) this.desk.store.tell({ type: "failed", why: explain(error) });
    }
  }

  private async load(task: Task, stale: () => boolean): Promise<void> {
    const { desk } = this;
    const info = await desk.ask(() => desk.server.caseInfo(task), stale);
    if (stale()) return;
    const organ = organOf(info, task);
    const grid: Grid = { shape: info.shape, spacingMm: info.spacing_mm };
    const coming = this.maskOf(task, organ, grid, stale); // while the CT comes
    coming.catch(() => undefined);
    const image = await this.showImage(info, grid, stale);
    const mask = await coming;
    const draft = organ.draft ? await this.draftOf(task, image.grid, stale) : null;
    if (stale()) return;
    // from here to the end of the draft nothing waits, so that no stroke can come between
    desk.store.tell({ type: "opened", info, base: organ.revision, organState: organ.state });
    if (!this.take(task, mask, image)) return;
    if (draft) this.restore(draft, organ);
    this.settle(task, stale);
  }

  /** The CT of a case: fetched and shown once, however many of its organs are looked at. */
  private async showImage(info: CaseInfo, grid: Grid, stale: () => boolean): Promise<Shown> {
    if (this.image?.id === info.case) return this.image;
    const { desk } = this;
    const volume = readImage(await desk.ask(() => desk.server.image(info.case), stale), grid);
    if (!stale()) {
      this.image = null;
      await desk.viewer?.showImage(volume.bytes, grid, desk.store.state.settings.window);
      this.image = { id: info.case, grid, volume };
      desk.neighbours = new Neighbours(voxelCount(grid));
      this.layers.newCase();
    }
    return { id: info.case, grid, volume };
  }

  /** The mask, or why it can't be used: the server can't give it, or it does not fit. */
  private async maskOf(task: Task, organ: CaseOrgan, grid: Grid, stale: () => boolean): Promise<Uint8Array | Error> {
    const { desk } = this;
    try {
      return await unpack(await desk.ask(() => desk.server.mask(task, organ.revision || undefined), stale), grid);
    } catch (error) {
      if (error instanceof Refused || error instanceof RangeError) return error;
      throw error;
    }
  }

  /** Make the mask the one in work; one that does not fit is refused, and editing stays blocked. */
  private take(task: Task, mask: Uint8Array | Error, { grid, volume }: Shown): boolean {
    const { desk } = this;
    if (mask instanceof Error) {
      const why = `This mask can't be used: ${explain(mask)}. Editing is blocked: reject it, flag it, or go on.`;
      desk.viewer?.hideMask();
      desk.store.tell({ type: "mask-refused", why });
      return false;
    }
    desk.work = new Work(grid, volume.voxels, mask);
    desk.viewer?.showMask(desk.work.voxels, channels(desk.organ(task.organ).colour));
    desk.changed();
    return true;
  }

  /** The draft that was left; null, with a word about it, where it can't be used. */
  private async draftOf(task: Task, grid: Grid, stale: () => boolean): Promise<Restored | null> {
    const { desk } = this;
    try {
      const { gzip, box, base } = await desk.ask(() => desk.server.draft(task), stale);
      return { mask: place(await gunzip(gzip), grid, parseBox(box, grid)), base };
    } catch (error) {
      if (error instanceof Unreachable) throw error;
      desk.say("warn", `Your draft was left aside: ${explain(error)}`);
      return null;
    }
  }

  private restore(draft: Restored, organ: CaseOrgan): void {
    const { desk } = this;
    const { work } = desk;
    if (!work) return;
    work.become(draft.mask);
    desk.viewer?.refresh(null);
    desk.changed();
    desk.store.tell({ type: "draft", draft: "stored" });
    if (draft.base !== organ.revision) {
      desk.store.tell({ type: "conflict", conflict: { head: organ.revision, kept: null, strokes: true } });
    } else if (work.history.undoable) {
      desk.say("info", "Your strokes from last time are back.");
    }
  }

  /** Tell others that somebody works on the open task; a hint, so a failure does not matter. */
  lease(): void {
    const { task, phase } = this.desk.store.state;
    if (task && phase === "reviewing") this.desk.server.lease(task, LEASE_S).catch(() => undefined);
  }

  private settle(task: Task, stale: () => boolean): void {
    const { desk } = this;
    desk.clock.restart();
    this.layers.centre();
    this.lease();
    void desk.server.history(task).then((revisions) => {
      if (!stale()) desk.store.tell({ type: "history", revisions });
    }, () => undefined);
    void this.layers.load(stale);
  }

  /** A new picture after the graphics card lost the old one: the same CT and the same mask. */
  showAgain(): Promise<void> {
    const shown = this.last.then(() => this.bringBack()); // never while another CT is being shown
    this.last = shown.catch(() => undefined);
    return shown;
  }

  private async bringBack(): Promise<void> {
    const { desk, image } = this;
    if (!image || !desk.viewer) return;
    await desk.viewer.showImage(image.volume.bytes, image.grid, desk.store.state.settings.window);
    if (desk.work) desk.viewer.showMask(desk.work.voxels, channels(desk.organ(desk.task.organ).colour));
    await this.layers.showAgain();
  }
}

function organOf(info: CaseInfo, task: Task): CaseOrgan {
  const found = info.organs.find((organ) => organ.key === task.organ);
  if (!found) throw new Error(`${info.title} has no organ ${task.organ}`);
  return found;
}
