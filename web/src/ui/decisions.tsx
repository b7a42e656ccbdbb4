// The decision on the organ, and what happened to it before.
import type { Revision } from "../server/types";
import { canDecide, canSave, isDirty } from "../review/state";
import { CommandButton } from "./button";
import { clicked, Part } from "./use";

const DECIDED = ["accepted", "corrected", "rejected", "absent", "flagged", "expert"];

export function Decisions({ reviewer, state }: Part) {
  return (
    <section aria-label="Decision" class="decisions">
      <h2>Decide</h2>
      <CommandButton reviewer={reviewer} command="accept" kind="good" disabled={!canDecide(state, "accept")} />
      <CommandButton reviewer={reviewer} command="save" kind="good" disabled={!canSave(state)} />
      <div class="grid2">
        <CommandButton reviewer={reviewer} command="reject" disabled={!canDecide(state, "reject")} />
        <CommandButton reviewer={reviewer} command="absent" disabled={!canDecide(state, "absent")} />
        <CommandButton reviewer={reviewer} command="flag" disabled={!canDecide(state, "flag")} />
        <CommandButton reviewer={reviewer} command="next" />
        <CommandButton reviewer={reviewer} command="back" />
        <CommandButton reviewer={reviewer} command="reopen" disabled={!canDecide(state, "reopen") || !DECIDED.includes(state.organState)} />
        <CommandButton reviewer={reviewer} command="drop" disabled={!isDirty(state) || state.phase !== "reviewing"} >Drop</CommandButton>
      </div>
      <label class="check">
        <input type="checkbox" checked={state.settings.advance}
          onChange={(event) => void reviewer.set({ advance: event.currentTarget.checked })} />
        <span>Go on to the next after a decision</span>
      </label>
      <Past reviewer={reviewer} state={state} />
    </section>
  );
}

function Past({ reviewer, state }: Part) {
  const { revisions, base, compared, settings } = state;
  if (!revisions.length) return null;
  return (
    <details>
      <summary>History ({revisions.length})</summary>
      <ol class="past">
        {[...revisions].reverse().map((one) => (
          <li key={one.revision} aria-current={one.revision === base ? "true" : undefined}>
            <button type="button" class="quiet" title="Show it beside the mask, in white" disabled={one.voxels === 0 || ["absent", "missing"].includes(one.state)}
              aria-pressed={settings.showPrevious && compared === one.revision}
              onClick={clicked(() => void reviewer.compare(one.revision))}>
              <b>{one.revision}</b> {one.state}{one.kept ? " (kept aside)" : ""} · {one.reviewer || one.source}
              <span class="quiet"> {one.time.slice(0, 16).replace("T", " ")}{numbers(one)}</span>
            </button>
            {one.note && <q>{one.note}</q>}
          </li>
        ))}
      </ol>
    </details>
  );
}

function numbers(one: Revision): string {
  const change = one.added || one.removed ? ` · +${one.added ?? 0} −${one.removed ?? 0}` : "";
  return change + (one.dice_to_parent === null ? "" : ` · Dice ${one.dice_to_parent.toFixed(3)}`);
}
