// A button that runs a command and shows its key.
import type { ComponentChildren } from "preact";
import { bindingOf, Command, keyName } from "../review/keys";
import type { Reviewer } from "../review/reviewer";
import { clicked } from "./use";

interface Props {
  readonly reviewer: Reviewer;
  readonly command: Command;
  readonly pressed?: boolean;
  readonly disabled?: boolean;
  readonly kind?: string;
  readonly children?: ComponentChildren;
}

export function CommandButton({ reviewer, command, pressed, disabled = false, kind = "", children }: Props) {
  const { title, means, keys } = bindingOf(command);
  const press = pressed === undefined ? {} : { "aria-pressed": pressed };
  return (
    <button type="button" class={kind} title={`${means} (${keyName(keys[0])})`} disabled={disabled}
      data-command={command} onClick={clicked(() => reviewer.run(command))} {...press}>
      <span>{children ?? title}</span>
      <kbd>{keyName(keys[0])}</kbd>
    </button>
  );
}
