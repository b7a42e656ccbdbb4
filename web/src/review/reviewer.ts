// The reviewer's session: what every command does, from signing in to the next task.
import { ReviewServer } from "../server/client";
import { explain } from "../server/errors";
import type { QueueFilter, Task } from "../server/types";
import { Viewer } from "../view/viewer";
import type { Voxel } from "../voxels/grid";
import { Desk } from "./desk";
import { Drafts } from "./drafts";
import { Editor } from "./editor";
import { Edits } from "./edits";
import type { Command } from "./keys";
import { Layers } from "./layers";
import { Opening } from "./opening";
import { axisOf, nextWindow, otherRadius, Settings } from "./settings";
import { isDirty } from "./state";
import { Writing } from "./writing";

const RENEW_LEASE_MS = 120_000;

export class Reviewer {
  readonly desk: Desk;
  readonly drafts: Drafts;
  readonly editor: Editor;
  readonly edits: Edits;
  readonly layers: Layers;
  readonly writing: Writing;
  private readonly opening: Opening;
  private host: HTMLElement | null = null;
  private readonly decidedLast: Task[] = [];
  /** What the reviewer passed over; it comes again when nothing else is left. */
  private readonly passed = new Set<string>();
  /** Called when the crosshair moves. */
  onMove: (voxel: Voxel) => void = () => undefined;

  constructor(server = new ReviewServer()) {
    this.desk = new Desk(server);
    this.drafts = new Drafts(this.desk);
    this.layers = new Layers(this.desk);
    this.editor = new Editor(this.desk, this.drafts, this.layers);
    this.layers.onLoaded = () => this.editor.lock();
    this.opening = new Opening(this.desk, this.layers);
    this.writing = new Writing(this.desk, this.drafts);
    this.writing.onDecided = (task) => this.decided(task);
    this.edits = new Edits(this.desk);
    this.edits.onChanged = (reopen) => this.edited(reopen);
  }

  get store() {
    return this.desk.store;
  }

  async start(host: HTMLElement): Promise<void> {
    this.host = host;
    try {
      this.store.tell({ type: "signed-in", session: await this.desk.ask(() => this.desk.server.session()) });
      await this.attach();
      await this.refreshQueue();
      await this.openFirst();
      setInterval(() => this.opening.lease(), RENEW_LEASE_MS);
      this.edits.watch();
    } catch (error) {
      this.store.tell({ type: "failed", why: explain(error) });
    }
  }

  private async attach(): Promise<void> {
    if (!this.host) return;
    this.desk.viewer?.dispose();
    this.desk.viewer = null;
    this.desk.viewer = await Viewer.attach(this.host, { onMove: (voxel) => this.onMove(voxel), onLost: () => void this.screenLost() });
    this.desk.viewer.setView(this.store.state.settings.view);
    this.desk.viewer.setMaskOpacity(this.store.state.settings.opacity);
  }

  /** The graphics card lost the picture: keep the strokes, build a new one. */
  private async screenLost(): Promise<void> {
    this.store.tell({ type: "screen-lost" });
    this.editor.end();
    for (;;) {
      await new Promise((wake) => setTimeout(wake, 1500));
      try {
        await this.attach();
        await this.opening.showAgain();
        return this.store.tell({ type: "screen-back" });
      } catch {
        continue; // still no graphics: try again
      }
    }
  }

  async refreshQueue(): Promise<void> {
    const { items, progress } = await this.desk.ask(() => this.desk.server.queue(this.store.state.filter));
    this.store.tell({ type: "queued", queue: items, progress });
  }

  async filter(filter: Partial<QueueFilter>): Promise<void> {
    this.store.tell({ type: "filtered", filter: { ...this.store.state.filter, ...filter } });
    await this.refreshQueue().catch((error) => this.complain(error));
  }

  async open(task: Task): Promise<void> {
    if (["saving", "conflict"].includes(this.store.state.phase)) return;
    this.editor.end();
    await this.drafts.flush();
    const { state } = this.store;
    if (isDirty(state) && state.draft !== "stored") {
      const text = "Your strokes have not reached the server yet: the page stays here until they have.";
      return this.desk.say("warn", text);
    }
    await this.opening.open({ case: task.case, organ: task.organ, revision: task.revision });
    this.editor.lock();
  }

  private async decided(task: Task): Promise<void> {
    this.decidedLast.push(task);
    await this.refreshQueue().catch((error: unknown) => this.complain(error));
    if (this.store.state.task !== task) return; // another one was chosen meanwhile
    const { advance } = this.store.state.settings;
    const next = this.after(task);
    await this.open(advance && next ? next : task);
    if (advance && !next) this.desk.say("info", "The queue is empty.");
  }

  private async edited(reopen: boolean): Promise<void> {
    const { task } = this.store.state;
    await this.refreshQueue();
    if (reopen && task && this.store.state.task === task) await this.open({ case: task.case, organ: task.organ });
  }

  /** Undo or dismiss an edit of cases.csv. */
  settle(act: () => Promise<void>): void {
    this.desk.clock.touch();
    void act().catch((error) => this.complain(error));
  }

  /** The first of the queue that is another one and was not passed over; else the next one that was. */
  private after(task: Task | null): Task | undefined {
    const { queue } = this.store.state;
    const others = queue.filter((item) => !task || nameOf(item) !== nameOf(task));
    const fresh = others.find((item) => !this.passed.has(nameOf(item)));
    if (!fresh) this.passed.clear();
    const at = queue.findIndex((item) => task && nameOf(item) === nameOf(task));
    return fresh ?? queue.slice(at + 1).find((item) => others.includes(item)) ?? others[0];
  }

  private async openFirst(): Promise<void> {
    const [first] = this.store.state.queue;
    if (first) await this.open(first);
    else this.desk.say("info", "The queue is empty.");
  }

  private async openNext(): Promise<void> {
    const { task } = this.store.state;
    if (task) this.passed.add(nameOf(task));
    const next = this.after(task);
    if (next) await this.open(next);
  }

  private async openLast(): Promise<void> {
    const last = this.decidedLast.pop();
    if (!last) return this.desk.say("info", "You have decided nothing yet.");
    await this.open({ case: last.case, organ: last.organ });
  }

  /** Show a revision beside the mask, in white. */
  async compare(revision: number): Promise<void> {
    this.store.tell({ type: "compared", revision });
    const { settings } = this.store.state;
    if (settings.showPrevious) await this.layers.load();
    else await this.set({ showPrevious: true });
  }

  /** After a conflict: look at what somebody else wrote; ours stays where the server kept it. */
  async takeTheirs(): Promise<void> {
    const { task } = this.desk;
    await this.drafts.drop(task);
    await this.refreshQueue().catch(() => undefined);
    await this.opening.open(task);
  }

  /** After a conflict: go on with our strokes, now over the new head. */
  keepMine(): void {
    const { conflict } = this.store.state;
    if (!conflict) return;
    this.store.tell({ type: "rebased", base: conflict.head });
    this.drafts.touch();
  }

  async dropStrokes(): Promise<void> {
    const { task } = this.desk;
    this.store.tell({ type: "dialog", dialog: "none" });
    await this.drafts.drop(task);
    await this.opening.open(task);
  }

  async flag(note: string): Promise<void> {
    this.store.tell({ type: "dialog", dialog: "none" });
    await this.drafts.flush();
    await this.writing.decide("flag", note);
  }

  async set(settings: Partial<Settings>): Promise<void> {
    const before = this.store.state.settings;
    this.store.tell({ type: "set", settings });
    if (settings.locked) this.editor.lock();
    await this.layers.follow(before, this.store.state.settings);
  }

  private complain(error: unknown): void {
    this.desk.say("error", explain(error));
  }

  /** Do what a key or a button asks for. */
  run(command: Command): void {
    this.desk.clock.touch();
    this.editor.end(); // a stroke that is under way is one of the mask by now
    void Promise.resolve(this.doing(command)).catch((error) => this.complain(error));
  }

  private doing(command: Command): Promise<void> | void {
    const { settings, dialog } = this.store.state;
    switch (command) {
      case "accept":
      case "reject":
      case "absent":
      case "reopen":
        return this.writing.decide(command);
      case "save":
        return this.writing.save();
      case "flag":
        return this.store.tell({ type: "dialog", dialog: "flag" });
      case "drop":
        return this.store.tell({ type: "dialog", dialog: isDirty(this.store.state) ? "drop" : "none" });
      case "help":
        return this.store.tell({ type: "dialog", dialog: dialog === "help" ? "none" : "help" });
      case "next":
        return this.openNext();
      case "back":
        return this.openLast();
      case "look":
      case "brush":
      case "eraser":
      case "threshold":
        return this.set({ pen: command });
      case "smaller":
      case "larger":
        return this.set({ radiusMm: otherRadius(settings.radiusMm, command === "larger" ? 1 : -1) });
      case "undo":
        return this.editor.undo();
      case "redo":
        return this.editor.redo();
      case "fill":
      case "grow":
      case "shrink":
      case "largest":
      case "interpolate":
        return this.editor.use(command);
      case "axial":
      case "coronal":
      case "sagittal":
      case "all":
      case "solid":
        return this.set({ view: command });
      case "window":
        return this.set({ window: nextWindow(settings.window) });
      case "centre":
        return this.layers.centre();
      case "fit":
        return this.desk.viewer?.fit();
      case "slice-up":
      case "slice-down":
        return this.desk.viewer?.moveBy(axisOf(settings.view), command === "slice-up" ? 1 : -1);
      case "mask":
        return this.set({ showMask: !settings.showMask });
      case "others":
        return this.set({ showOthers: !settings.showOthers });
      case "uncertainty":
        return this.set({ showUncertainty: !settings.showUncertainty });
      case "previous":
        return this.set({ showPrevious: !settings.showPrevious });
    }
  }
}

function nameOf({ case: id, organ }: Task): string {
  return `${id} ${organ}`;
}
