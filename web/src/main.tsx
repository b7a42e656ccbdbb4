// The page begins here.
import { render } from "preact";
import { handleOf } from "./handle";
import { listenToKeys } from "./keyboard";
import { Reviewer } from "./review/reviewer";
import { isDirty } from "./review/state";
import "./style.css";
import { App } from "./ui/app";

const reviewer = new Reviewer();
Object.assign(window, { smiler: handleOf(reviewer) });
listenToKeys(reviewer);
watchTheTab(reviewer);
render(<App reviewer={reviewer} />, document.getElementById("page")!);

/** Drafts go out when the tab is hidden; leaving with a draft that was not sent asks first. */
function watchTheTab({ desk, drafts }: Reviewer): void {
  for (const kind of ["pointerdown", "pointermove", "wheel"]) window.addEventListener(kind, () => desk.clock.touch(), { passive: true });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "hidden") return;
    desk.clock.rest();
    void drafts.flush();
  });
  window.addEventListener("beforeunload", (event) => {
    const { state } = desk.store;
    if (state.phase === "saving" || (isDirty(state) && state.draft !== "stored")) event.preventDefault();
  });
}
