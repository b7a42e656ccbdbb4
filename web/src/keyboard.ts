// The keyboard: every key that means something goes to its command, unless somebody is typing.
import { commandOf } from "./review/keys";
import type { Reviewer } from "./review/reviewer";

export function listenToKeys(reviewer: Reviewer): void {
  window.addEventListener("keydown", (event) => onKey(event, reviewer), { capture: true });
}

function onKey(event: KeyboardEvent, reviewer: Reviewer): void {
  if (typing(event) || document.querySelector("dialog[open]")) return;
  if (event.key === " " && event.target instanceof HTMLButtonElement) return; // Space presses the button in focus
  const command = commandOf(event);
  if (!command) return;
  event.preventDefault();
  event.stopPropagation();
  reviewer.run(command);
}

function typing({ target, key }: KeyboardEvent): boolean {
  if (target instanceof HTMLInputElement) return target.type === "range" ? /^(Arrow|Page|Home|End)/.test(key) : target.type !== "checkbox";
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}
