// What the server says, as types.

export type OrganState = "missing" | "proposed" | "accepted" | "corrected" | "rejected" | "absent" | "flagged" | "expert";
export type Lane = "fast" | "correct" | "redo" | "other";
export type Decision = "accept" | "reject" | "absent" | "flag" | "reopen";
export type ToolName = "interpolate" | "fill" | "grow" | "shrink" | "largest";

export interface Organ {
  readonly key: string;
  readonly title: string;
  /** #rrggbb, safe for colour-blind eyes. */
  readonly colour: string;
  readonly exclusive: readonly string[];
  readonly part_of: string | null;
}

export interface Session {
  readonly reviewer: string;
  readonly xsrf: string;
  readonly cohort: string;
  readonly organs: readonly Organ[];
  readonly version: string;
}

/** One organ of one case; from the queue with the revision that is to be looked at. */
export interface Task {
  readonly case: string;
  readonly organ: string;
  readonly revision?: number | undefined;
}

export interface QueueItem extends Task {
  readonly title: string;
  readonly state: OrganState;
  readonly revision: number;
  readonly lane: Lane;
  readonly reason: string;
  readonly expected_dice: number | null;
  readonly minutes: number | null;
}

export interface Progress {
  readonly total: number;
  readonly verified: number;
  readonly left: number;
  readonly flagged: number;
  readonly per_hour: number | null;
  readonly hours_left: number | null;
  /** Proposals that came a second time, and how far the second answers agree with the first. */
  readonly repeated: number;
  readonly alike: number | null;
  /** Why cases.csv can't follow now, or null. */
  readonly trouble: string | null;
  /** Edits of cases.csv that changed what people had decided and were neither undone nor dismissed, oldest first. */
  readonly edits: readonly Edit[];
  readonly by_organ: Readonly<Record<string, { readonly total: number; readonly verified: number }>>;
}

export interface Edit {
  readonly number: number;
  readonly time: string;
  readonly title: string;
  readonly cells: number;
  readonly cases: number;
  readonly rows_gone: number;
  readonly rows_changed: number;
  /** How many cells by "accepted -> proposed". */
  readonly changes: Readonly<Record<string, number>>;
}

/** How many cells and rows are as before an edit; what was left as it is, in words. */
export interface Undone {
  readonly edit: number;
  readonly cells: number;
  readonly rows: number;
  readonly left: readonly string[];
}

export interface CaseOrgan {
  readonly key: string;
  readonly state: OrganState;
  readonly revision: number;
  /** null: nobody counted them yet. */
  readonly voxels: number | null;
  readonly has_uncertainty: boolean;
  readonly draft: boolean;
  readonly leased_by: string | null;
}

export interface CaseInfo {
  readonly case: string;
  readonly title: string;
  readonly shape: readonly [number, number, number];
  readonly spacing_mm: readonly [number, number, number];
  readonly organs: readonly CaseOrgan[];
}

export interface Revision {
  readonly revision: number;
  readonly state: OrganState;
  readonly source: string;
  readonly parent: number | null;
  readonly reviewer: string;
  readonly time: string;
  readonly voxels: number | null;
  readonly added: number | null;
  readonly removed: number | null;
  readonly dice_to_parent: number | null;
  readonly active_seconds: number | null;
  readonly note: string;
  readonly kept: boolean;
}

export interface QueueFilter {
  readonly organ: string;
  readonly state: string;
  readonly lane: string;
}
