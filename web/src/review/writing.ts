// Decisions and corrections: sent until they arrive, once each, over the revision they were made from.
import { explain, Refused } from "../server/errors";
import { freshKey, Write } from "../server/client";
import type { Decision, Revision, Task } from "../server/types";
import type { Desk } from "./desk";
import type { Drafts } from "./drafts";
import { isDirty, whyNotDecide, whyNotSave } from "./state";

export class Writing {
  /** What goes on after a decision was taken. */
  onDecided: (task: Task) => Promise<void> = async () => undefined;

  constructor(
    private readonly desk: Desk,
    private readonly drafts: Drafts,
  ) {}

  /** Save the strokes as a correction. */
  async save(): Promise<void> {
    const { server, store, work } = this.desk;
    const why = whyNotSave(store.state) ?? this.whyNotTrusted();
    if (why || !work) return this.desk.say("warn", why ?? "");
    const parcel = work.parcel();
    await this.write(async (task, write) => server.saveMask(task, await parcel, write), "");
  }

  async decide(decision: Decision, note = ""): Promise<void> {
    const { server, store } = this.desk;
    const why = whyNotDecide(store.state, decision) ?? (decision === "accept" ? this.whyNotTrusted() : null);
    if (why) return this.desk.say("warn", why);
    await this.write((task, write) => server.decide(task, decision, write), note);
  }

  private whyNotTrusted(): string | null {
    return this.desk.trusted() ? null : "The picture can't be trusted, so nothing was saved. Your strokes are kept.";
  }

  private async write(send: (task: Task, write: Write) => Promise<Revision>, note: string): Promise<void> {
    const { desk } = this;
    const { task } = desk;
    const write = { base: desk.store.state.base, key: freshKey(), activeSeconds: desk.clock.seconds(), note };
    desk.store.tell({ type: "saving" });
    const revision = await desk.ask(() => send(task, write)).catch((error: unknown) => this.refused(error));
    if (revision) await this.written(task, revision);
  }

  private async written(task: Task, revision: Revision): Promise<void> {
    const strokes = revision.state === "flagged" && isDirty(this.desk.store.state);
    this.desk.store.tell({ type: "saved", revision });
    if (strokes) await this.drafts.keep(task, revision.revision);
    else await this.drafts.drop(task);
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
}
