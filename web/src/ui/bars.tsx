// The bars: which organ of which case, how far the cohort is, views, windows, and how things stand.
import { CommandButton } from "./button";
import { inWords } from "../review/edits";
import { VIEWS, WINDOWS } from "../review/settings";
import { isDirty, State, whyBlocked } from "../review/state";
import { clicked, Part } from "./use";

export function TopBar({ reviewer, state }: Part) {
  return (
    <header>
      <h1>smiler <span class="quiet">review · {state.session?.cohort ?? "…"}</span></h1>
      <Current reviewer={reviewer} state={state} />
      <ProgressLine state={state} />
      <span class="quiet">{state.session?.reviewer}</span>
      <CommandButton reviewer={reviewer} command="help" />
    </header>
  );
}

function Current({ reviewer, state }: Part) {
  if (!state.task) return <span />;
  const organ = reviewer.desk.organ(state.task.organ);
  const lease = state.info?.organs.find(({ key }) => key === organ.key)?.leased_by;
  const elsewhere = lease && lease !== state.session?.reviewer ? lease : null;
  return (
    <p class="current">
      <span class="swatch" style={{ background: organ.colour }} />
      <b>{organ.title}</b> <span class="quiet">{state.info?.title ?? ""}</span>
      {state.phase !== "loading" && <span class={`badge ${state.organState}`}>{state.organState}</span>}
      {elsewhere && <span class="badge flagged">{elsewhere} has it open</span>}
    </p>
  );
}

function ProgressLine({ state }: { state: State }) {
  const { progress } = state;
  if (!progress) return <span />;
  const { verified, total, left, per_hour, hours_left, repeated, alike } = progress;
  const again = alike === null ? undefined : `${repeated} came a second time; the answers agree to ${alike.toFixed(2)}`;
  return (
    <p class="progress" title={again}>
      <progress max={Math.max(total, 1)} value={verified} aria-label="Organs verified" />
      <span>{verified} of {total} verified</span>
      <span class="quiet">{left} left{per_hour ? ` · ${Math.round(per_hour)} per hour` : ""}{hours_left ? ` · ${hours(hours_left)}` : ""}</span>
    </p>
  );
}

function hours(left: number): string {
  return left < 1 ? `${Math.max(1, Math.round(left * 60))} min to go` : `${left.toFixed(1)} h to go`;
}

export function ViewBar({ reviewer, state }: Part) {
  const { view, window } = state.settings;
  return (
    <div class="viewbar" role="toolbar" aria-label="View">
      {VIEWS.map(({ name }) => (
        <CommandButton key={name} reviewer={reviewer} command={name} pressed={view === name} />
      ))}
      <CommandButton reviewer={reviewer} command="centre" />
      <label class="window">
        Window <kbd>W</kbd>
        <select value={window.name} onChange={(event) => {
          void reviewer.set({ window: named(event.currentTarget.value) });
          event.currentTarget.blur(); // so that keys are commands again
        }}>
          {WINDOWS.map(({ name, low, high }) => (
            <option key={name} value={name}>{name} ({low} … {high})</option>
          ))}
        </select>
      </label>
    </div>
  );
}

function named(name: string) {
  return WINDOWS.find((window) => window.name === name) ?? WINDOWS[0];
}

export function StatusBar({ state }: { state: State }) {
  return (
    <footer role="status" aria-live="polite">
      <span data-status="strokes">{strokes(state)}</span>
      <span>{state.phase === "reviewing" ? `${state.voxels.toLocaleString("en")} voxels · revision ${state.base}` : ""}</span>
      {state.progress?.trouble && <span class="alarm">{state.progress.trouble}</span>}
      <span class={state.connection === "lost" ? "alarm" : "quiet"}>{state.connection === "lost" ? "No connection: trying again; your strokes are kept" : "Connected"}</span>
    </footer>
  );
}

function strokes(state: State): string {
  if (!isDirty(state)) return "No unsaved strokes";
  const many = `${state.undoable} unsaved ${state.undoable === 1 ? "change" : "changes"}`;
  return `${many}, ${state.draft === "stored" ? "draft kept on the server" : "draft not sent yet"}`;
}

/** The newest edit of cases.csv that changed decisions. */
function EditBanner({ reviewer, state }: Part) {
  const edits = state.progress?.edits ?? [];
  const edit = edits.at(-1);
  if (!edit) return null;
  const { edits: desk } = reviewer;
  return (
    <div class="banner warn" data-banner="edit" title={edit.title}>
      <p>
        <b>cases.csv was edited outside of this page</b> at {edit.time.slice(11, 16)} UTC on {edit.time.slice(0, 10)} and changed
        what people had decided: {inWords(edit)}.{edits.length > 1 && <span class="quiet"> {edits.length - 1} more before it.</span>}
      </p>
      <button type="button" onClick={clicked(() => reviewer.settle(() => desk.undo(edit)))}>Undo</button>
      <button type="button" title="Close this; smiler review COHORT --undo-edit can still undo it"
        onClick={clicked(() => reviewer.settle(() => desk.dismiss(edit)))}>Keep</button>
    </div>
  );
}

export function Banner({ reviewer, state }: Part) {
  const blocked = whyBlocked(state);
  const { notice } = state;
  return (
    <div class="banners" aria-live="assertive">
      <EditBanner reviewer={reviewer} state={state} />
      {blocked && <p class="banner warn" data-banner="blocked">{blocked}</p>}
      {notice && (
        <p class={`banner ${notice.tone}`} role={notice.tone === "error" ? "alert" : undefined} data-banner="notice">
          {notice.text}
          {state.phase === "failed" && state.task && (
            <button type="button" onClick={() => state.task && void reviewer.open(state.task)}>Try again</button>
          )}
          <button type="button" class="close" aria-label="Close" onClick={() => reviewer.store.tell({ type: "notice", notice: null })}>×</button>
        </p>
      )}
    </div>
  );
}
