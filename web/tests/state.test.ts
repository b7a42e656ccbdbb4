// What is allowed when: the state machine, the keys, the clock, asking again.
import { describe, expect, it, test } from "vitest";
import { ActiveClock } from "../src/review/clock";
import { BINDINGS, commandOf } from "../src/review/keys";
import { nextWindow, otherRadius, toggled, WINDOWS } from "../src/review/settings";
import { canDecide, canEdit, canSave, Event, isDirty, START, State, step, whyBlocked } from "../src/review/state";
import { ReviewServer } from "../src/server/client";
import { Refused, Unreachable } from "../src/server/errors";
import { untilReached } from "../src/server/retry";
import type { CaseInfo, Revision } from "../src/server/types";

const TASK = { case: "00".repeat(8), organ: "liver" };
const INFO = { case: TASK.case, title: "p1", shape: [4, 4, 4], spacing_mm: [1, 1, 1], organs: [] } as CaseInfo;
const OPEN: Event[] = [
  { type: "opening", task: TASK },
  { type: "opened", info: INFO, base: 3, organState: "proposed" },
];
const SEEN: Event = { type: "changed", undoable: 0, redoable: 0, forgot: false, voxels: 9 };
const STROKE: Event = { ...SEEN, undoable: 1 };

function after(...events: Event[]): State {
  return events.reduce(step, START);
}

describe("what is blocked when", () => {
  it("is open for everything but saving nothing", () => {
    const state = after(...OPEN, SEEN);
    expect([canEdit(state), canDecide(state, "accept"), canDecide(state, "reject"), canSave(state)]).toEqual([true, true, true, false]);
    expect(whyBlocked(state)).toBeNull();
  });

  it("strokes can be saved; no decision but a flag may pass over them", () => {
    const state = after(...OPEN, STROKE);
    expect([isDirty(state), canSave(state)]).toEqual([true, true]);
    const may = (["accept", "reject", "absent", "reopen", "flag"] as const).filter((decision) => canDecide(state, decision));
    expect(may).toEqual(["flag"]);
  });

  it("after a conflict, strokes that are kept over the new head are unsaved even when all of them are undone", () => {
    const conflict: Event = { type: "conflict", conflict: { head: 4, kept: null, strokes: true } };
    const state = after(...OPEN, STROKE, conflict, { type: "rebased", base: 4 }, SEEN);
    expect([isDirty(state), canDecide(state, "accept"), canSave(state)]).toEqual([true, false, true]);
    expect(isDirty(after(...OPEN, STROKE, conflict, { type: "rebased", base: 4 }, ...OPEN))).toBe(false);
  });

  it("changes that can't be undone any more are still unsaved", () => {
    const state = after(...OPEN, { ...STROKE, forgot: true } as Event, { ...SEEN, forgot: true } as Event);
    expect([isDirty(state), canDecide(state, "accept")]).toEqual([true, false]);
  });

  it.each(["missing", "expert", "absent", "rejected"] as const)("what is %s is not rejected", (organState) => {
    const opened: Event = { type: "opened", info: INFO, base: 3, organState };
    expect([canDecide(after(OPEN[0], opened, SEEN), "reject"), canDecide(after(...OPEN, SEEN), "reject")]).toEqual([false, true]);
  });

  it("an empty mask is not accepted, and an emptied one may be absent", () => {
    expect(canDecide(after(...OPEN), "accept")).toBe(false);
    expect(canDecide(after(...OPEN, { ...STROKE, voxels: 0 } as Event), "absent")).toBe(true);
  });

  it.each<[string, Event]>([
    ["loading", { type: "opening", task: TASK }],
    ["saving", { type: "saving" }],
    ["a conflict", { type: "conflict", conflict: { head: 4, kept: 5, strokes: true } }],
    ["a lost picture", { type: "screen-lost" }],
    ["a tool at work", { type: "working", working: "grow …" }],
    ["a mask that does not fit", { type: "mask-refused", why: "it does not fit" }],
  ])("%s blocks editing and saving, and says so", (_, event) => {
    const state = after(...OPEN, STROKE, event);
    expect([canEdit(state), canSave(state), canDecide(state, "accept")]).toEqual([false, false, false]);
    expect(whyBlocked(state)).toBeTruthy();
  });

  it("a mask that does not fit can still be rejected or flagged", () => {
    const state = after(...OPEN, { type: "mask-refused", why: "it does not fit" });
    expect([canDecide(state, "reject"), canDecide(state, "flag"), canDecide(state, "accept")]).toEqual([true, true, false]);
  });

  it("editing goes on when the picture is back, with the strokes", () => {
    const state = after(...OPEN, STROKE, { type: "screen-lost" }, { type: "screen-back" });
    expect([canEdit(state), isDirty(state)]).toEqual([true, true]);
  });

  it("a failed save keeps the strokes and says why", () => {
    const state = after(...OPEN, STROKE, { type: "saving" }, { type: "not-saved", why: "the disk is full" });
    expect([canSave(state), state.notice?.text]).toEqual([true, "the disk is full"]);
  });

  it("after a conflict, ours goes on over the new head", () => {
    const state = after(...OPEN, STROKE, { type: "conflict", conflict: { head: 4, kept: 5, strokes: true } }, { type: "rebased", base: 4 });
    expect([state.base, canSave(state), state.conflict]).toEqual([4, true, null]);
  });

  it("a saved revision is the new base, and nothing is decided twice", () => {
    const state = after(...OPEN, STROKE, { type: "saving" }, { type: "saved", revision: { revision: 7, state: "corrected" } as Revision });
    expect([state.base, state.organState, isDirty(state), state.phase]).toEqual([7, "corrected", false, "loading"]);
    expect([canEdit(state), canDecide(state, "reject")]).toEqual([false, false]);
  });

  it("another task starts clean", () => {
    const state = after(...OPEN, STROKE, { type: "opening", task: { ...TASK, organ: "spleen" } });
    expect([isDirty(state), state.maskTrusted, state.notice]).toEqual([false, false, null]);
  });
});

describe("keys", () => {
  const press = (key: string, more = {}) => commandOf({ key, ctrlKey: false, metaKey: false, shiftKey: false, altKey: false, ...more });

  it("mean one command each", () => {
    const keys = BINDINGS.flatMap((one) => one.keys);
    expect(new Set(keys).size).toBe(keys.length);
    expect(new Set(BINDINGS.map((one) => one.command)).size).toBe(BINDINGS.length);
  });

  it("are found, with and without shift and control", () => {
    expect([press("a"), press("A", { shiftKey: true }), press("?", { shiftKey: true })]).toEqual(["accept", null, "help"]);
    expect([press("z"), press("z", { ctrlKey: true }), press("Z", { ctrlKey: true, shiftKey: true })]).toEqual(["undo", "undo", "redo"]);
    expect([press("Backspace", { shiftKey: true }), press("Backspace"), press("r", { ctrlKey: true })]).toEqual(["drop", null, null]);
    expect([press(" "), press("ArrowUp"), press("a", { altKey: true })]).toEqual(["mask", "slice-up", null]);
  });
});

describe("settings", () => {
  it("step through radii and windows and stop or turn at the end", () => {
    expect([otherRadius(3, 1), otherRadius(3, -1), otherRadius(0, -1), otherRadius(30, 1)]).toEqual([4, 2, 0, 30]);
    expect(nextWindow(WINDOWS[WINDOWS.length - 1])).toBe(WINDOWS[0]);
    expect([toggled(["a"], "b"), toggled(["a", "b"], "a")]).toEqual([["a", "b"], ["b"]]);
  });
});

test("active seconds leave out pauses, hidden tabs and a clock that jumps back", () => {
  let now = 0;
  const clock = new ActiveClock(() => now * 1000);
  clock.restart();
  now = 10;
  clock.touch();
  now = 1000; // away: 30 s count at most
  clock.touch();
  now = 500; // the clock jumped back
  clock.touch();
  now = 505;
  clock.rest();
  now = 600;
  expect(clock.seconds()).toBe(10 + 30 + 5);
});

describe("asking again", () => {
  const line = () => {
    const told: string[] = [];
    return { told, onLost: () => told.push("lost"), onBack: () => told.push("back"), pause: async (s: number) => void told.push(`${s} s`) };
  };

  it("waits longer each time, until the server answers", async () => {
    let left = 3;
    const ours = line();
    const ask = async () => {
      if (left-- > 0) throw new Unreachable("no route");
      return "here";
    };
    expect(await untilReached(ask, ours)).toBe("here");
    expect(ours.told).toEqual(["lost", "1 s", "lost", "2 s", "lost", "4 s", "back"]);
  });

  it("does not repeat what the server refused", async () => {
    const ours = line();
    const refused = new Refused(412, { what: "stale" }, 4, 5);
    await expect(untilReached(() => Promise.reject(refused), ours)).rejects.toBe(refused);
    expect(ours.told).toEqual(["back"]);
  });
});

describe("the client", () => {
  const SESSION = { reviewer: "r", xsrf: "token", cohort: "c", organs: [], version: "1" };

  async function client(answer: Response) {
    const asked: { url: string; init: RequestInit }[] = [];
    const server = new ReviewServer(async (url, init) => {
      asked.push({ url, init: init ?? {} });
      return url === "api/session" ? Response.json(SESSION) : answer;
    });
    await server.session();
    return { server, asked };
  }

  it("names base, key, box and token on a save", async () => {
    const { server, asked } = await client(Response.json({ revision: 4, state: "corrected" }));
    const parcel = { box: { low: [1, 2, 3], high: [4, 5, 6] }, gzip: new ArrayBuffer(3) } as const;
    await server.saveMask(TASK, parcel, { base: 3, key: "0123456789", activeSeconds: 12.5, note: "" });
    expect(asked[1].url).toBe(`api/cases/${TASK.case}/masks/liver?box=1%2C2%2C3%2C4%2C5%2C6&active_seconds=12.5`);
    expect(asked[1].init.headers).toMatchObject({ "If-Match": '"3"', "Idempotency-Key": "0123456789", "X-XSRF-Token": "token" });
  });

  it("tells a conflict with both revisions, and what to do", async () => {
    const body = { error: { what: "stale", do: "choose" }, head: 4, kept: 5 };
    const { server } = await client(Response.json(body, { status: 412 }));
    const error = await server.decide(TASK, "accept", { base: 3, key: "0123456789", activeSeconds: 0, note: "" }).catch((e) => e);
    expect([error.status, error.head, error.kept, error.message]).toEqual([412, 4, 5, "stale — choose"]);
  });

  it("takes a gateway's error for a lost connection", async () => {
    const { server } = await client(new Response("", { status: 503 }));
    await expect(server.progress()).rejects.toBeInstanceOf(Unreachable);
  });
});
