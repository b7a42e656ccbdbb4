// Drafts: unsaved strokes are sent soon after each change, so that a closed tab loses nothing.
import { explain, Unreachable } from "../server/errors";
import type { Task } from "../server/types";
import type { Desk } from "./desk";
import { isDirty } from "./state";

const SOON_MS = 700;
const AGAIN_MS = 3000;

export class Drafts {
  private timer: ReturnType<typeof setTimeout> | null = null;
  private task: Task | null = null;
  private sending: Promise<void> = Promise.resolve();

  constructor(private readonly desk: Desk) {}

  /** The mask changed: send it in a moment. */
  touch(): void {
    this.task = this.desk.store.state.task;
    this.desk.store.tell({ type: "draft", draft: "waiting" });
    this.later(SOON_MS);
  }

  /** Send what waits, now. */
  flush(): Promise<void> {
    if (this.timer === null) return this.sending;
    this.cancel();
    this.sending = this.sending.then(() => this.send());
    return this.sending;
  }

  /** Nothing waits any more: it was saved, or dropped. */
  cancel(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  /** Keep the strokes as a draft over a new revision that has the same mask. */
  async keep(task: Task, base: number): Promise<void> {
    const { work, server } = this.desk;
    this.cancel();
    await this.sending;
    if (work) await this.desk.ask(async () => server.keepDraft(task, await work.parcel(), base));
  }

  /** Forget the draft, here and on the server. */
  async drop(task: Task): Promise<void> {
    this.cancel();
    await this.sending;
    await this.desk.server.dropDraft(task).catch(() => undefined);
  }

  private later(ms: number): void {
    this.cancel();
    this.timer = setTimeout(() => void this.flush(), ms);
  }

  private async send(): Promise<void> {
    const { store, work, server } = this.desk;
    const { task, base } = store.state;
    if (!work || !task || task !== this.task) return;
    try {
      if (isDirty(store.state)) await server.keepDraft(task, await work.parcel(), base);
      else await server.dropDraft(task);
      this.sent(work === this.desk.work);
    } catch (error) {
      this.failed(error);
    }
  }

  private sent(current: boolean): void {
    const { store } = this.desk;
    store.tell({ type: "connection", connection: "up" });
    if (current && this.timer === null) store.tell({ type: "draft", draft: isDirty(store.state) ? "stored" : "none" });
  }

  private failed(error: unknown): void {
    const { store } = this.desk;
    if (error instanceof Unreachable) store.tell({ type: "connection", connection: "lost" });
    else this.desk.say("error", `The draft can't be kept: ${explain(error)}`);
    if (this.timer === null) this.later(AGAIN_MS);
  }
}
