// The queue: what to look at next, and why it stands where it stands.
import type { QueueItem } from "../server/types";
import { clicked, Part } from "./use";

const LANES: Record<string, string> = { fast: "quick look", correct: "correct", redo: "redo", other: "other" };
const STATES = ["missing", "proposed", "accepted", "corrected", "rejected", "absent", "flagged", "expert"];

export function Queue({ reviewer, state }: Part) {
  return (
    <nav class="queue" aria-label="Queue">
      <h2>Queue</h2>
      <Filters reviewer={reviewer} state={state} />
      <ol>
        {state.queue.map((item) => (
          <li key={`${item.case} ${item.organ}`}>
            <Item item={item} reviewer={reviewer} state={state} />
          </li>
        ))}
      </ol>
      {state.queue.length === 0 && state.phase !== "starting" && <p class="quiet">Nothing waits here.</p>}
    </nav>
  );
}

function Filters({ reviewer, state }: Part) {
  const organs = state.session?.organs ?? [];
  return (
    <div class="filters">
      <Choice label="Organ" value={state.filter.organ} choose={(organ) => reviewer.filter({ organ })}
        options={organs.map(({ key, title }) => [key, title])} />
      <Choice label="State" value={state.filter.state} choose={(wanted) => reviewer.filter({ state: wanted })}
        options={STATES.map((name) => [name, name])} />
      <Choice label="Lane" value={state.filter.lane} choose={(lane) => reviewer.filter({ lane })}
        options={Object.entries(LANES)} />
    </div>
  );
}

interface ChoiceProps {
  readonly label: string;
  readonly value: string;
  readonly options: readonly (readonly [string, string])[];
  readonly choose: (value: string) => void;
}

function Choice({ label, value, options, choose }: ChoiceProps) {
  return (
    <select aria-label={label} value={value} onChange={(event) => {
      choose(event.currentTarget.value);
      event.currentTarget.blur(); // so that keys are commands again
    }}>
      <option value="">{label}: all</option>
      {options.map(([key, title]) => (
        <option key={key} value={key}>{title}</option>
      ))}
    </select>
  );
}

function Item({ item, reviewer, state }: Part & { item: QueueItem }) {
  const open = state.task?.case === item.case && state.task.organ === item.organ;
  const organ = reviewer.desk.organ(item.organ);
  return (
    <button type="button" class="item" aria-current={open ? "true" : undefined} onClick={clicked(() => void reviewer.open(item))}>
      <span class="swatch" style={{ background: organ.colour }} />
      <span class="what">{organ.title}</span>
      <span class={`badge ${item.state}`}>{item.state}</span>
      <span class="where">{item.title}</span>
      <span class="why">{item.reason}</span>
    </button>
  );
}
