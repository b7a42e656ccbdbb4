// Pens, shape tools, undo; the brush's size and HU range.
import { useState } from "preact/hooks";
import { RADII_MM } from "../review/settings";
import { canEdit } from "../review/state";
import { CommandButton } from "./button";
import { Part } from "./use";

export function Tools({ reviewer, state }: Part) {
  const { pen } = state.settings;
  const off = !canEdit(state);
  return (
    <section aria-label="Tools">
      <h2>Paint</h2>
      <div class="grid2" role="group" aria-label="Pen">
        <CommandButton reviewer={reviewer} command="look" pressed={pen === "look"} />
        <CommandButton reviewer={reviewer} command="brush" pressed={pen === "brush"} disabled={off} />
        <CommandButton reviewer={reviewer} command="eraser" pressed={pen === "eraser"} disabled={off} />
        <CommandButton reviewer={reviewer} command="threshold" pressed={pen === "threshold"} disabled={off} >Threshold</CommandButton>
      </div>
      <Radius reviewer={reviewer} state={state} />
      {pen === "threshold" && <Range reviewer={reviewer} state={state} />}
      <div class="grid2">
        <CommandButton reviewer={reviewer} command="undo" disabled={off || !state.undoable} />
        <CommandButton reviewer={reviewer} command="redo" disabled={off || !state.redoable} />
      </div>
      <h2>Shape</h2>
      <div class="grid2">
        <CommandButton reviewer={reviewer} command="interpolate" disabled={off} />
        <CommandButton reviewer={reviewer} command="fill" disabled={off} />
        <CommandButton reviewer={reviewer} command="grow" disabled={off} />
        <CommandButton reviewer={reviewer} command="shrink" disabled={off} />
        <CommandButton reviewer={reviewer} command="largest" disabled={off} />
      </div>
    </section>
  );
}

function Radius({ reviewer, state }: Part) {
  const at = RADII_MM.findIndex((radius) => radius >= state.settings.radiusMm);
  return (
    <label class="slider">
      <span>Radius <kbd>[</kbd> <kbd>]</kbd></span>
      <input type="range" min={0} max={RADII_MM.length - 1} value={at}
        onInput={(event) => void reviewer.set({ radiusMm: RADII_MM[Number(event.currentTarget.value)] })} />
      <output>{state.settings.radiusMm ? `${state.settings.radiusMm} mm` : "1 voxel"}</output>
    </label>
  );
}

function Range({ reviewer, state }: Part) {
  const { range } = state.settings;
  const limit = (n: 0 | 1) => (hu: number) => {
    const [low, high] = reviewer.store.state.settings.range; // as it is by now, not as it was drawn
    void reviewer.set({ range: n === 0 ? [hu, high] : [low, hu] });
  };
  return (
    <div class="range">
      <label>HU from <NumberBox name="low" value={range[0]} choose={limit(0)} /></label>
      <label>to <NumberBox name="high" value={range[1]} choose={limit(1)} /></label>
    </div>
  );
}

/** What is being typed stays in the box however often the page is drawn anew; what is no number is forgotten. */
function NumberBox({ name, value, choose }: { name: string; value: number; choose: (value: number) => void }) {
  const [typed, type] = useState<string | null>(null);
  return (
    <input type="number" step={10} data-range={name} value={typed ?? value}
      onInput={(event) => type(event.currentTarget.value)}
      onBlur={() => type(null)}
      onChange={({ currentTarget: { value: text } }) => {
        if (text !== "" && Number.isFinite(Number(text))) choose(Number(text));
        type(null);
      }} />
  );
}
