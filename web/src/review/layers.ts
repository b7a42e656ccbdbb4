// What is shown beside the mask: other organs, the revision before, uncertainty; and the settings of the view.
import { explain, Unreachable } from "../server/errors";
import type { CaseOrgan, Task } from "../server/types";
import { boxOf } from "../voxels/box";
import { Grid, Voxel, voxelCount } from "../voxels/grid";
import { readBytes } from "../voxels/nifti";
import { unpack } from "../voxels/parcel";
import { channels } from "./colours";
import type { Desk } from "./desk";
import type { Settings } from "./settings";

const PREVIOUS_COLOUR = [255, 255, 255] as const;

export class Layers {
  private uncertainty: { task: Task; voxels: Uint8Array | null } | null = null;
  private previous: { task: Task; revision: number } | null = null;
  private queue: Promise<void> = Promise.resolve();
  /** Called when masks of other organs came, so that locks can follow. */
  onLoaded: () => void = () => undefined;

  constructor(private readonly desk: Desk) {}

  newCase(): void {
    this.uncertainty = null;
    this.previous = null;
  }

  /** Fetch what the settings ask for and show it; one at a time, the newest wish last. */
  load(stale: () => boolean = () => false): Promise<void> {
    this.queue = this.queue.then(() => (stale() ? undefined : this.fetchAndShow(stale))).catch(() => undefined);
    return this.queue;
  }

  private async fetchAndShow(stale: () => boolean): Promise<void> {
    const { settings } = this.desk.store.state;
    if (settings.showOthers || this.waitsForLocks()) await this.fetchOthers(stale);
    if (settings.showPrevious) await this.fetchPrevious(stale);
    if (stale()) return;
    this.onLoaded();
    await this.showLabels();
    await this.showUncertainty(stale);
  }

  private async fetchOthers(stale: () => boolean): Promise<void> {
    const { neighbours, work, store } = this.desk;
    const { info } = store.state;
    for (const organ of this.others()) {
      if (stale() || !info || !work || !neighbours) return;
      if (neighbours.has(organ.key, organ.revision)) continue;
      neighbours.add(organ.key, organ.revision, await this.fetchOther(info.case, organ, work.grid, stale));
      if (store.state.settings.locked.includes(organ.key)) this.onLoaded();
    }
  }

  /** A neighbour's mask; one that can't be used is left out, with a word about it. */
  private async fetchOther(id: string, { key, revision }: CaseOrgan, grid: Grid, stale: () => boolean): Promise<Uint8Array> {
    const { desk } = this;
    try {
      return await unpack(await desk.ask(() => desk.server.mask({ case: id, organ: key }, revision || undefined), stale), grid);
    } catch (error) {
      if (error instanceof Unreachable) throw error;
      const text = `${desk.organ(key).title} can't be shown or locked: ${explain(error)}`;
      desk.say("warn", text);
      return new Uint8Array(voxelCount(grid));
    }
  }

  private async fetchPrevious(stale: () => boolean): Promise<void> {
    const { desk } = this;
    const { task, base, revisions, compared } = desk.store.state;
    const parent = compared ?? revisions.find((one) => one.revision === base)?.parent ?? null;
    if (!task || !desk.work || (this.previous?.task === task && this.previous.revision === parent)) return;
    const mask = parent ? await unpack(await desk.server.mask(task, parent), desk.work.grid) : null;
    if (stale()) return;
    desk.neighbours?.setPrevious(mask);
    this.previous = { task, revision: parent ?? 0 };
    if (!mask) desk.say("info", "There is no revision before this one.");
  }

  /** The organs beside the one under review that have voxels, as far as anybody counted them. */
  private others(): CaseOrgan[] {
    const { info, task } = this.desk.store.state;
    return (info?.organs ?? []).filter(({ key, voxels }) => key !== task?.organ && voxels !== 0);
  }

  /** Organs that must not be painted over. */
  locked(): CaseOrgan[] {
    const { locked } = this.desk.store.state.settings;
    return this.others().filter(({ key }) => locked.includes(key));
  }

  /** Organs that are locked, but whose masks have not come yet: until then painting would pass over them. */
  waitsForLocks(): boolean {
    return this.locked().some(({ key, revision }) => !this.desk.neighbours?.has(key, revision));
  }

  private async showLabels(): Promise<void> {
    const { desk } = this;
    const { info, settings } = desk.store.state;
    if (!desk.viewer || !desk.neighbours) return;
    const shown = settings.showOthers ? this.others().map(({ key }) => key).filter((key) => !settings.hidden.includes(key)) : [];
    if (!shown.length && !settings.showPrevious) return desk.viewer.showLabels(null, [], 0);
    const all = (info?.organs ?? []).map(({ key }) => key); // the same numbers whichever is under review
    const colours = [...all.map((key) => channels(desk.organ(key).colour)), PREVIOUS_COLOUR];
    const labels = desk.neighbours.labels(all.map((key) => (shown.includes(key) ? key : null)), settings.showPrevious);
    await desk.viewer.showLabels(labels, colours, settings.showPrevious ? 0.5 : 0.35);
  }

  private async showUncertainty(stale: () => boolean): Promise<void> {
    const { desk } = this;
    const { task, settings } = desk.store.state;
    if (!task || !desk.viewer || !desk.work) return;
    if (settings.showUncertainty && this.uncertainty?.task !== task) {
      this.uncertainty = { task, voxels: await this.fetchUncertainty(task) };
    }
    if (!stale()) await desk.viewer.showUncertainty(settings.showUncertainty ? (this.uncertainty?.voxels ?? null) : null, 0.6);
  }

  private async fetchUncertainty(task: Task): Promise<Uint8Array | null> {
    const { desk } = this;
    const { info } = desk.store.state;
    const has = info?.organs.find(({ key }) => key === task.organ)?.has_uncertainty;
    if (has && desk.work) return readBytes(await desk.server.uncertainty(task), desk.work.grid).voxels;
    desk.say("info", "There is no uncertainty for this organ.");
    return null;
  }

  /** Move to the middle of the mask, where there is one. */
  centre(): void {
    const { work, viewer } = this.desk;
    if (!work || !viewer) return;
    const box = boxOf(work.voxels, work.grid);
    const [low, high] = box ? [box.low, box.high] : [[0, 0, 0], work.grid.shape];
    viewer.moveTo(low.map((x, axis) => Math.floor((x + high[axis] - 1) / 2)) as unknown as Voxel);
  }

  /** The settings changed: let the viewer follow. */
  async follow(before: Settings, after: Settings): Promise<void> {
    const { viewer } = this.desk;
    if (!viewer) return;
    if (before.view !== after.view) viewer.setView(after.view);
    if (before.window !== after.window) viewer.setWindow(after.window);
    viewer.setMaskOpacity(after.showMask ? after.opacity : 0);
    const asked: (keyof Settings)[] = ["showOthers", "showUncertainty", "showPrevious", "hidden", "locked"];
    if (asked.some((key) => before[key] !== after[key])) await this.load();
  }

  async showAgain(): Promise<void> {
    const { settings } = this.desk.store.state;
    this.desk.viewer?.setView(settings.view);
    this.desk.viewer?.setMaskOpacity(settings.showMask ? settings.opacity : 0);
    await this.load();
  }
}
