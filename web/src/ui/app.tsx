// The page: queue on the left, viewer in the middle, tools and decision on the right.
import { useEffect, useRef } from "preact/hooks";
import type { Reviewer } from "../review/reviewer";
import { indexOf, inside, Voxel } from "../voxels/grid";
import { PointerPen } from "../view/pen";
import { Banner, StatusBar, TopBar, ViewBar } from "./bars";
import { Decisions } from "./decisions";
import { Dialogs } from "./dialogs";
import { Organs } from "./organs";
import { Queue } from "./queue";
import { Tools } from "./tools";
import { useReview } from "./use";

export function App({ reviewer }: { reviewer: Reviewer }) {
  const state = useReview(reviewer);
  const part = { reviewer, state };
  return (
    <div class="page" data-phase={state.phase} data-pen={state.settings.pen} data-view={state.settings.view}>
      <TopBar {...part} />
      <Queue {...part} />
      <main>
        <ViewBar {...part} />
        <Stage reviewer={reviewer} />
        <Banner {...part} />
        <StatusBar state={state} />
      </main>
      <aside aria-label="Tools and decision">
        <Decisions {...part} />
        <Tools {...part} />
        <Organs {...part} />
      </aside>
      <Dialogs {...part} />
    </div>
  );
}

/** Where the viewer lives; nothing in it is drawn twice by the page itself. */
function Stage({ reviewer }: { reviewer: Reviewer }) {
  const host = useRef<HTMLDivElement>(null);
  const outline = useRef<HTMLDivElement>(null);
  const place = useRef<HTMLOutputElement>(null);
  useEffect(() => {
    if (!host.current || !outline.current) return;
    reviewer.onMove = (voxel) => place.current && (place.current.value = words(reviewer, voxel));
    givePen(reviewer, host.current, outline.current);
    void reviewer.start(host.current);
  }, [reviewer]);
  return (
    <div class="stage">
      <div class="viewer" ref={host} />
      <div class="outline" ref={outline} aria-hidden="true" />
      <output class="place" ref={place} aria-label="Voxel and HU at the crosshair" />
    </div>
  );
}

function givePen(reviewer: Reviewer, host: HTMLElement, outline: HTMLElement): PointerPen {
  const { editor, desk } = reviewer;
  return new PointerPen(host, outline, {
    viewer: () => desk.viewer,
    draws: () => desk.store.state.settings.pen !== "look",
    radiusMm: () => desk.store.state.settings.radiusMm,
    resize: (step) => reviewer.run(step > 0 ? "larger" : "smaller"),
    begin: (voxel, axis) => editor.begin(voxel, axis),
    paint: (from, to) => editor.paint(from, to),
    end: () => editor.end(),
  });
}

function words(reviewer: Reviewer, voxel: Voxel): string {
  const { work } = reviewer.desk;
  if (!work || !inside(work.grid, voxel)) return "";
  const index = indexOf(work.grid, voxel);
  return `${voxel.join(" ")} · ${work.hu[index]} HU${work.voxels[index] ? " · in the mask" : ""}`;
}
