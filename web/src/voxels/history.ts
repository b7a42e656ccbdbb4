// Undo and redo: a change is the set of voxels that it flips, so taking it back is doing it again.
import { flip, Runs } from "./runs";

const MOST_RUNS = 8_000_000;

export class History {
  private done: Runs[] = [];
  private undone: Runs[] = [];
  /** Were changes dropped that nobody can take back any more? */
  forgot = false;

  constructor(private readonly most = MOST_RUNS) {}

  get undoable(): number {
    return this.done.length;
  }

  get redoable(): number {
    return this.undone.length;
  }

  /** Remember a change that was already made; what was undone before is forgotten. */
  push(change: Runs): void {
    if (!change.length) return;
    this.done.push(change);
    this.undone = [];
    this.forget();
  }

  undo(mask: Uint8Array): Runs | null {
    return this.move(this.done, this.undone, mask);
  }

  redo(mask: Uint8Array): Runs | null {
    return this.move(this.undone, this.done, mask);
  }

  private move(from: Runs[], to: Runs[], mask: Uint8Array): Runs | null {
    const change = from.pop();
    if (!change) return null;
    flip(mask, change);
    to.push(change);
    return change;
  }

  /** Drop the oldest changes when they take too much memory; the last one always stays. */
  private forget(): void {
    let size = this.done.reduce((sum, change) => sum + change.length, 0);
    while (size > this.most && this.done.length > 1) {
      size -= this.done.shift()!.length;
      this.forgot = true;
    }
  }
}
