// Hooks that tie the page's parts to the state.
import { useEffect, useState } from "preact/hooks";
import type { Reviewer } from "../review/reviewer";
import type { State } from "../review/state";

export function useReview(reviewer: Reviewer): State {
  const [state, show] = useState(reviewer.store.state);
  useEffect(() => reviewer.store.listen(() => show(reviewer.store.state)), [reviewer]);
  return state;
}

export interface Part {
  readonly reviewer: Reviewer;
  readonly state: State;
}

/** What a button does; after a click of the mouse Space is a command again, and does not press it once more. */
export function clicked(act: () => void): (event: { readonly detail: number; readonly currentTarget: HTMLElement }) => void {
  return ({ detail, currentTarget }) => {
    if (detail > 0) currentTarget.blur();
    act();
  };
}
