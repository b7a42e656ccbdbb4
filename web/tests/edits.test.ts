// What the page says of an edit of cases.csv and of its undo.
import { expect, it } from "vitest";
import { inWords, outcome } from "../src/review/edits";

const EDIT = { number: 9, time: "2026-05-01T12:00:03.000+00:00", title: "", cells: 0, cases: 0, rows_gone: 0, rows_changed: 0, changes: {} };

it("says what an edit changed", () => {
  const cells = { ...EDIT, cells: 37, cases: 12, changes: { "absent -> missing": 1, "accepted -> proposed": 36 } };
  expect(inWords(cells)).toBe("37 cells of 12 cases (1 absent → missing, 36 accepted → proposed)");
  expect(inWords({ ...EDIT, rows_gone: 1, rows_changed: 2 })).toBe("1 row gone, another patient or image in 2 rows");
});

it("says what came back and what did not", () => {
  expect(outcome({ edit: 9, cells: 36, rows: 1, left: [] })).toBe("Undone: 36 cells and 1 row as before.");
  const left = ["a", "b", "c", "d", "e"];
  expect(outcome({ edit: 9, cells: 0, rows: 0, left })).toBe("Undone: nothing as before. Left as it is: a; b; c; and 2 more.");
});
