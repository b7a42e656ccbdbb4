// Edits of cases.csv from outside of the page: noticed while it is open, undone or dismissed.
import type { Edit, Undone } from "../server/types";
import type { Desk } from "./desk";
import { isDirty } from "./state";

const LOOK_MS = 30_000;

export class Edits {
  /** The queue is another one; after an undo the organ on the screen is shown again, unless it has strokes. */
  onChanged: (reopen: boolean) => Promise<void> = async () => undefined;

  constructor(private readonly desk: Desk) {}

  /** Look now and then, and whenever the reviewer comes back from another window: a spreadsheet, say. */
  watch(): void {
    setInterval(() => void this.look(), LOOK_MS);
    addEventListener("focus", () => void this.look());
  }

  private async look(): Promise<void> {
    const progress = await this.desk.server.progress().catch(() => null); // the status bar tells a lost connection
    if (!progress) return;
    const { store } = this.desk;
    const [before, now] = [store.state.progress, progress].map((known) => known?.edits.at(-1)?.number);
    store.tell({ type: "progressed", progress });
    if (before !== now) await this.onChanged(false).catch(() => undefined);
  }

  async undo(edit: Edit): Promise<void> {
    const undone = await this.desk.ask(() => this.desk.server.undoEdit(edit.number));
    const { phase } = this.desk.store.state;
    await this.onChanged(phase === "reviewing" && !isDirty(this.desk.store.state));
    this.desk.say(undone.left.length ? "warn" : "info", outcome(undone));
  }

  async dismiss(edit: Edit): Promise<void> {
    await this.desk.ask(() => this.desk.server.dismissEdit(edit.number));
    await this.look();
  }
}

/** What an undo did, in words. */
export function outcome({ cells, rows, left }: Undone): string {
  const back = [cells && counted(cells, "cell"), rows && counted(rows, "row")].filter(Boolean).join(" and ");
  const first = left.slice(0, 3).join("; ");
  const more = left.length > 3 ? `; and ${left.length - 3} more` : "";
  return `Undone: ${back || "nothing"} as before.${left.length ? ` Left as it is: ${first}${more}.` : ""}`;
}

/** What an edit changed, in words. */
export function inWords({ cells, cases, rows_gone, rows_changed, changes }: Edit): string {
  const parts = [
    cells && `${counted(cells, "cell")} of ${counted(cases, "case")}`,
    rows_gone && `${counted(rows_gone, "row")} gone`,
    rows_changed && `another patient or image in ${counted(rows_changed, "row")}`,
  ].filter(Boolean);
  const states = Object.entries(changes).map(([change, count]) => `${count} ${change.replace("->", "→")}`);
  return `${parts.join(", ")}${states.length ? ` (${states.join(", ")})` : ""}`;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
