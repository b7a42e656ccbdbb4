// The other organs of the case: shown or hidden, locked or not; other layers.
import type { CaseOrgan } from "../server/types";
import { toggled } from "../review/settings";
import { CommandButton } from "./button";
import { Part } from "./use";

export function Organs({ reviewer, state }: Part) {
  const { settings, info, task } = state;
  const others = (info?.organs ?? []).filter(({ key }) => key !== task?.organ);
  return (
    <section aria-label="Layers" class="organs">
      <h2>Layers</h2>
      <div class="grid2">
        <CommandButton reviewer={reviewer} command="mask" pressed={settings.showMask} />
        <CommandButton reviewer={reviewer} command="others" pressed={settings.showOthers}>Organs</CommandButton>
        <CommandButton reviewer={reviewer} command="uncertainty" pressed={settings.showUncertainty} />
        <CommandButton reviewer={reviewer} command="previous" pressed={settings.showPrevious}>Previous</CommandButton>
      </div>
      <label class="slider">
        <span>Mask opacity</span>
        <input type="range" min={5} max={100} value={Math.round(settings.opacity * 100)}
          onInput={(event) => void reviewer.set({ opacity: Number(event.currentTarget.value) / 100 })} />
        <output>{Math.round(settings.opacity * 100)} %</output>
      </label>
      <ul>
        {others.map((organ) => (
          <li key={organ.key}>
            <Row organ={organ} reviewer={reviewer} state={state} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function Row({ organ, reviewer, state }: Part & { organ: CaseOrgan }) {
  const { title, colour } = reviewer.desk.organ(organ.key);
  const { hidden, locked } = state.settings;
  return (
    <>
      <span class="swatch" style={{ background: colour }} />
      <span class="what">{title}</span>
      <span class={`badge ${organ.state}`}>{organ.state}</span>
      <Check label={`Show ${title}`} text="show" on={!hidden.includes(organ.key)} disabled={organ.voxels === 0}
        change={() => void reviewer.set({ hidden: toggled(hidden, organ.key) })} />
      <Check label={`Lock ${title}`} text="lock" on={locked.includes(organ.key)} disabled={organ.voxels === 0}
        change={() => void reviewer.set({ locked: toggled(locked, organ.key) })} />
    </>
  );
}

interface CheckProps {
  readonly label: string;
  readonly text: string;
  readonly on: boolean;
  readonly disabled: boolean;
  readonly change: () => void;
}

function Check({ label, text, on, disabled, change }: CheckProps) {
  return (
    <label class="check">
      <input type="checkbox" aria-label={label} checked={on && !disabled} disabled={disabled} onChange={change} />
      <span aria-hidden="true">{text}</span>
    </label>
  );
}
