// The page's state and every step it can take: pure, so that what is blocked when can be tested.
import type { CaseInfo, Decision, OrganState, Progress, QueueFilter, QueueItem, Revision, Session, Task } from "../server/types";
import { coloured } from "./colours";
import { Settings, SETTINGS } from "./settings";

export type Phase = "starting" | "idle" | "loading" | "reviewing" | "saving" | "conflict" | "failed";
export type Dialog = "none" | "help" | "flag" | "drop";
export type DraftState = "none" | "waiting" | "stored";

export interface Notice {
  readonly tone: "info" | "warn" | "error";
  readonly text: string;
}

/** Two masks of one organ: the head, which somebody else wrote, and ours. */
export interface Conflict {
  readonly head: number;
  /** The revision under which ours is kept, null when it lives in this page (and its draft) alone. */
  readonly kept: number | null;
  /** Did we send strokes (they can be kept), or only a decision? */
  readonly strokes: boolean;
}

export interface State {
  readonly phase: Phase;
  readonly session: Session | null;
  readonly filter: QueueFilter;
  readonly queue: readonly QueueItem[];
  readonly progress: Progress | null;
  readonly task: Task | null;
  readonly info: CaseInfo | null;
  /** The revision that the mask on the screen was made from: every write names it. */
  readonly base: number;
  readonly organState: OrganState;
  /** The mask on the screen is the organ's, on the CT's grid. */
  readonly maskTrusted: boolean;
  readonly screen: "up" | "lost";
  readonly connection: "up" | "lost";
  readonly undoable: number;
  readonly redoable: number;
  /** The mask is not the head's even where everything is undone. */
  readonly apart: boolean;
  readonly voxels: number;
  readonly draft: DraftState;
  readonly working: string | null;
  readonly conflict: Conflict | null;
  readonly revisions: readonly Revision[];
  /** The revision that is shown beside the mask; null: the one before. */
  readonly compared: number | null;
  readonly notice: Notice | null;
  readonly dialog: Dialog;
  readonly settings: Settings;
}

export const START: State = {
  phase: "starting",
  session: null,
  filter: { organ: "", state: "", lane: "" },
  queue: [],
  progress: null,
  task: null,
  info: null,
  base: 0,
  organState: "missing",
  maskTrusted: false,
  screen: "up",
  connection: "up",
  undoable: 0,
  redoable: 0,
  apart: false,
  voxels: 0,
  draft: "none",
  working: null,
  conflict: null,
  revisions: [],
  compared: null,
  notice: null,
  dialog: "none",
  settings: SETTINGS,
};

export type Event =
  | { type: "signed-in"; session: Session }
  | { type: "queued"; queue: readonly QueueItem[]; progress: Progress }
  | { type: "progressed"; progress: Progress }
  | { type: "filtered"; filter: QueueFilter }
  | { type: "opening"; task: Task }
  | { type: "opened"; info: CaseInfo; base: number; organState: OrganState }
  | { type: "mask-refused"; why: string }
  | { type: "failed"; why: string }
  | { type: "saving" }
  | { type: "saved"; revision: Revision }
  | { type: "not-saved"; why: string }
  | { type: "conflict"; conflict: Conflict }
  | { type: "rebased"; base: number }
  | { type: "changed"; undoable: number; redoable: number; forgot: boolean; voxels: number }
  | { type: "draft"; draft: DraftState }
  | { type: "working"; working: string | null }
  | { type: "history"; revisions: readonly Revision[] }
  | { type: "compared"; revision: number }
  | { type: "connection"; connection: "up" | "lost" }
  | { type: "screen-lost" }
  | { type: "screen-back" }
  | { type: "notice"; notice: Notice | null }
  | { type: "dialog"; dialog: Dialog }
  | { type: "set"; settings: Partial<Settings> };

export function step(state: State, event: Event): State {
  switch (event.type) {
    case "signed-in":
      return { ...state, session: { ...event.session, organs: coloured(event.session.organs) }, phase: "idle" };
    case "queued":
      return { ...state, queue: event.queue, progress: event.progress };
    case "progressed":
      return { ...state, progress: event.progress };
    case "filtered":
      return { ...state, filter: event.filter };
    case "opening":
      return opening(state, event.task);
    case "opened":
      return opened(state, event);
    case "mask-refused":
      return { ...state, phase: "reviewing", maskTrusted: false, working: null, notice: { tone: "error", text: event.why } };
    case "failed":
      return { ...state, phase: "failed", maskTrusted: false, working: null, notice: { tone: "error", text: event.why } };
    case "saving":
      return { ...state, phase: "saving", notice: null };
    case "saved":
      return saved(state, event.revision);
    case "not-saved":
      return { ...state, phase: "reviewing", notice: { tone: "error", text: event.why } };
    case "conflict":
      return { ...state, phase: "conflict", conflict: event.conflict };
    case "rebased":
      return { ...state, phase: "reviewing", conflict: null, base: event.base, apart: true };
    case "changed":
      return changed(state, event);
    case "draft":
      return { ...state, draft: event.draft };
    case "working":
      return { ...state, working: event.working };
    case "history":
      return { ...state, revisions: event.revisions };
    case "compared":
      return { ...state, compared: event.revision };
    case "connection":
      return state.connection === event.connection ? state : { ...state, connection: event.connection };
    case "screen-lost":
      return { ...state, screen: "lost" };
    case "screen-back":
      return { ...state, screen: "up" };
    case "notice":
      return { ...state, notice: event.notice };
    case "dialog":
      return { ...state, dialog: event.dialog };
    case "set":
      return { ...state, settings: { ...state.settings, ...event.settings } };
  }
}

function changed(state: State, event: { undoable: number; redoable: number; forgot: boolean; voxels: number }): State {
  const { undoable, redoable, forgot, voxels } = event;
  return { ...state, undoable, redoable, voxels, apart: state.apart || forgot };
}

function opening(state: State, task: Task): State {
  const fresh = { undoable: 0, redoable: 0, apart: false, voxels: 0, draft: "none", conflict: null, working: null } as const;
  return { ...state, ...fresh, revisions: [], compared: null, phase: "loading", task, maskTrusted: false, notice: null, dialog: "none" };
}

function opened(state: State, event: { info: CaseInfo; base: number; organState: OrganState }): State {
  const { info, base, organState } = event;
  return { ...state, phase: "reviewing", info, base, organState, maskTrusted: true, working: null };
}

/** Still closed until the next task, or this one anew, is open: a second key must not decide again. */
function saved(state: State, revision: Revision): State {
  const settled = { undoable: 0, redoable: 0, apart: false, draft: "none", conflict: null } as const;
  return { ...state, ...settled, phase: "loading", base: revision.revision, organState: revision.state };
}

/** Strokes that no revision holds yet. */
export function isDirty(state: State): boolean {
  return state.undoable > 0 || state.apart;
}

/** Painting, undo and tools: only on a trusted mask that can be seen, while nothing is under way. */
export function canEdit(state: State): boolean {
  return state.phase === "reviewing" && state.maskTrusted && state.screen === "up" && !state.working;
}

export function canSave(state: State): boolean {
  return whyNotSave(state) === null;
}

/** Why there is nothing to save now, in words; null when there is. */
export function whyNotSave(state: State): string | null {
  if (!canEdit(state)) return whyBlocked(state) ?? "Nothing is open.";
  if (!isDirty(state)) return "There are no strokes to save: accept (A) what is right as it is.";
  return state.voxels ? null : "The mask is empty now: mark the organ absent (X), or undo (Z).";
}

export function canDecide(state: State, decision: Decision): boolean {
  return whyNotDecide(state, decision) === null;
}

const VERIFIED = "It is verified already.";
const REOPEN = "It is marked absent: reopen it first (O).";
/** What the server would refuse, and what to do instead. */
const SETTLED: Partial<Record<Decision, Partial<Record<OrganState, string>>>> = {
  accept: { accepted: VERIFIED, corrected: VERIFIED, expert: "An expert drew this mask: it counts already.", absent: REOPEN },
  reject: {
    missing: "Nothing is proposed here to be rejected: draw it, or mark it absent (X).",
    expert: "An expert drew this mask: correct it (S), or flag it (F).",
    absent: REOPEN,
    rejected: "It is rejected already.",
  },
};

/** Why a decision can't be taken now, in words. It is about what the server holds; only what is seen can be accepted. */
export function whyNotDecide(state: State, decision: Decision): string | null {
  const open = state.phase === "reviewing" && state.task !== null && state.info !== null && !state.working;
  if (!open || (decision === "accept" && !canEdit(state))) return whyBlocked(state) ?? "Nothing is open.";
  const settled = SETTLED[decision]?.[state.organState];
  if (settled && !isDirty(state)) return settled;
  if (strokesInTheWay(state, decision)) return "You have unsaved strokes: first save (S), undo (Z) or drop them (Shift ⌫).";
  return decision === "accept" && !state.voxels ? "There is no mask to accept: draw it, or mark it absent (X)." : null;
}

/** A flag leaves strokes alone, and an emptied mask may well mean an absent organ; other decisions would lose them. */
function strokesInTheWay(state: State, decision: Decision): boolean {
  return isDirty(state) && decision !== "flag" && !(decision === "absent" && state.voxels === 0);
}

/** Why editing is blocked, in words for the reviewer; null when it is not. */
export function whyBlocked(state: State): string | null {
  if (state.phase === "loading") return "Loading …";
  if (state.phase === "saving") return "Saving …";
  if (state.phase === "conflict") return "Choose first which mask stays.";
  if (state.screen === "lost") return "The graphics card lost the picture. Your strokes are safe; editing goes on when it is back.";
  if (state.phase === "reviewing" && !state.maskTrusted) return "The mask can't be trusted, so editing is blocked.";
  if (state.working) return state.working;
  return null;
}
