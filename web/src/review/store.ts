// One place for the state; whoever listens hears of every step.
import { Event, START, State, step } from "./state";

export class Store {
  private current = START;
  private readonly listeners = new Set<() => void>();

  get state(): State {
    return this.current;
  }

  tell(event: Event): void {
    const next = step(this.current, event);
    if (next === this.current) return;
    this.current = next;
    this.listeners.forEach((listener) => listener());
  }

  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
