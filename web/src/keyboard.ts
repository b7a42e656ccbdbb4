// The keyboard: every key that means something goes to its command, unless somebody is typing.
import { Command, commandOf } from "./review/keys";
import type { Reviewer } from "./review/reviewer";

/** What goes on while the key is held; nothing else does: a held A must not accept what nobody has seen. */
const REPEATED: ReadonlySet<Command> = new Set(["slice-up", "slice-down", "smaller", "larger", "undo", "redo"]);

export function listenToKeys(reviewer: Reviewer): void {
  window.addEventListener("keydown", (event) => onKey(event, reviewer), { capture: true });
}

function onKey(event: KeyboardEvent, reviewer: Reviewer): void {
  if (typing(event) || document.querySelector("dialog[open]")) return;
  if (event.key === " " && pressable(event.target)) return; // Space presses what is in focus
  const command = commandOf(event);
  if (!command) return;
  event.preventDefault();
  event.stopPropagation();
  if (!event.repeat || REPEATED.has(command)) reviewer.run(command);
}

function pressable(target: EventTarget | null): boolean {
  return target instanceof HTMLButtonElement || (target instanceof HTMLInputElement && target.type === "checkbox");
}

function typing({ target, key }: KeyboardEvent): boolean {
  if (target instanceof HTMLInputElement) return target.type === "range" ? /^(Arrow|Page|Home|End)/.test(key) : target.type !== "checkbox";
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}
