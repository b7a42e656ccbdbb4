// Decisions and corrections: sent until they arrive, once each, over the revision they were made from.
import { explain, Refused } from "../server/errors";
import { freshKey, Write } from "../server/client";
import type { Decision, Revision, Task } from "../server/types";
import type { Desk } from "./desk";
import type { Drafts } from "./drafts";
import { canDecide, canSave, isDirty, strokesInTheWay, whyBlocked } from "./state";

export class Writing {
  /** What goes on after a decision was taken. */
  onDecided: (task: Task) => Promise<void> = async () => undefined;

  constructor(
    private readonly desk: Desk,
    private readonly drafts: Drafts,
  ) {}

  /** Save the strokes as a correction. */
  async save(): Promise<void> {
    const { desk } = this;
    const { work } = desk;
    const { state } = desk.store;
    if (!work || !canSave(state)) return this.say(whyBlocked(state) ?? "There are no strokes to save: accept (A) what is right as it is.");
    if (!desk.trusted()) return this.say("The picture can't be trusted, so nothing was saved. Your strokes are kept as a draft.");
    if (!work.size) return this.say("The mask is empty now: mark the organ absent (X), or undo.");
    const parcel = await work.parcel();
    await this.write((task, write) => desk.server.saveMask(task, parcel, write), "");
  }

  async decide(decision: Decision, note = ""): Promise<void> {
    const { store, server } = this.desk;
    if (strokesInTheWay(store.state, decision)) {
      return this.say("You have unsaved strokes: first save them (S), undo them (Z), or drop them (Shift ⌫).");
    }
    if (!canDecide(store.state, decision)) return this.say(whyBlocked(store.state) ?? "There is no mask to accept: draw it, or mark it absent (X).");
    if (decision === "accept" && !this.desk.trusted()) return this.say("The picture can't be trusted, so nothing was accepted.");
    await this.write((task, write) => server.decide(task, decision, write), note);
  }

  private async write(send: (task: Task, write: Write) => Promise<Revision>, note: string): Promise<void> {
    const { desk } = this;
    const { task } = desk;
    const write = { base: desk.store.state.base, key: freshKey(), activeSeconds: desk.clock.seconds(), note };
    desk.store.tell({ type: "saving" });
    try {
      const revision = await desk.ask(() => send(task, write));
      await this.written(task, revision);
    } catch (error) {
      this.refused(error);
    }
  }

  private async written(task: Task, revision: Revision): Promise<void> {
    const strokes = revision.state === "flagged" && isDirty(this.desk.store.state);
    if (strokes) await this.drafts.keep(task, revision.revision);
    else await this.drafts.drop(task);
    this.desk.store.tell({ type: "saved", revision });
    await this.onDecided(task);
  }

  private refused(error: unknown): void {
    const { store } = this.desk;
    if (error instanceof Refused && error.status === 412 && error.head !== null) {
      store.tell({ type: "conflict", conflict: { head: error.head, kept: error.kept, strokes: isDirty(store.state) } });
    } else {
      store.tell({ type: "not-saved", why: explain(error) });
    }
  }

  private say(text: string): void {
    this.desk.store.tell({ type: "notice", notice: { tone: "warn", text } });
  }
}
