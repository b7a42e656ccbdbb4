// What the parts of the page share: the state, the server, the viewer, the mask in work.
import type { ReviewServer } from "../server/client";
import { Line, untilReached } from "../server/retry";
import type { Organ, Task } from "../server/types";
import type { Viewer } from "../view/viewer";
import { ActiveClock } from "./clock";
import type { Neighbours } from "./neighbours";
import type { Notice } from "./state";
import { Store } from "./store";
import type { Work } from "./work";

export class Desk {
  readonly store = new Store();
  readonly clock = new ActiveClock();
  viewer: Viewer | null = null;
  work: Work | null = null;
  neighbours: Neighbours | null = null;

  constructor(readonly server: ReviewServer) {}

  private readonly line: Line = {
    onLost: () => this.store.tell({ type: "connection", connection: "lost" }),
    onBack: () => this.store.tell({ type: "connection", connection: "up" }),
    pause: (seconds) => new Promise((wake) => setTimeout(wake, seconds * 1000)),
  };

  /** Ask the server until it can be reached, or until nobody waits for the answer any more. */
  ask<T>(call: () => Promise<T>, giveUp?: () => boolean): Promise<T> {
    return untilReached(call, this.line, giveUp);
  }

  get task(): Task {
    const { task } = this.store.state;
    if (!task) throw new Error("no task is open");
    return task;
  }

  organ(key: string): Organ {
    const found = this.store.state.session?.organs.find((organ) => organ.key === key);
    return found ?? { key, title: key, colour: "#8ecbff", exclusive: [], part_of: null };
  }

  say(tone: Notice["tone"], text: string): void {
    this.store.tell({ type: "notice", notice: { tone, text } });
  }

  /** Is the mask in work what the screen shows? Editing and saving need a yes. */
  trusted(): boolean {
    return this.work !== null && this.viewer !== null && this.viewer.shows(this.work.voxels);
  }

  /** Tell everybody how the mask stands. */
  changed(): void {
    const { work } = this;
    if (!work) return;
    const { undoable, redoable, forgot } = work.history;
    this.store.tell({ type: "changed", undoable, redoable, forgot, voxels: work.size });
  }
}
