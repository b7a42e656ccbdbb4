// Every command, its keys and its words: the keyboard, the buttons' hints and the help read this one list.

export type Command =
  | "accept" | "save" | "reject" | "absent" | "flag" | "reopen" | "next" | "back" | "drop"
  | "look" | "brush" | "eraser" | "threshold" | "smaller" | "larger"
  | "undo" | "redo" | "fill" | "grow" | "shrink" | "largest" | "interpolate"
  | "axial" | "coronal" | "sagittal" | "all" | "solid" | "window" | "centre" | "fit"
  | "slice-up" | "slice-down" | "mask" | "others" | "uncertainty" | "previous" | "help";

export interface Binding {
  readonly command: Command;
  /** `KeyboardEvent.key` in lower case, with "ctrl+" or "shift+" in front where needed; the first is shown. */
  readonly keys: readonly string[];
  readonly group: "Decide" | "Paint" | "Shape" | "View";
  readonly title: string;
  readonly means: string;
}

function binding(group: Binding["group"], command: Command, keys: string, title: string, means: string): Binding {
  return { command, keys: keys.split(" "), group, title, means };
}

export const BINDINGS: readonly Binding[] = [
  binding("Decide", "accept", "a", "Accept", "Right as it is: expert knowledge"),
  binding("Decide", "save", "s ctrl+s", "Save correction", "Your strokes become expert knowledge"),
  binding("Decide", "reject", "r", "Reject", "Not worth mending: stays unknown"),
  binding("Decide", "absent", "x", "Absent", "The organ is not in this CT"),
  binding("Decide", "flag", "f", "Flag …", "Leave a note for somebody else"),
  binding("Decide", "reopen", "o", "Reopen", "Back to what was there before"),
  binding("Decide", "next", "n", "Next", "Skip to the next in the queue"),
  binding("Decide", "back", "u", "Last one", "Back to what you decided last"),
  binding("Decide", "drop", "shift+backspace", "Drop strokes …", "Forget your unsaved strokes"),
  binding("Paint", "look", "v escape", "Look", "Click moves the crosshair"),
  binding("Paint", "brush", "b", "Brush", "Paint discs in the slice"),
  binding("Paint", "eraser", "e", "Eraser", "Take voxels away"),
  binding("Paint", "threshold", "t", "Threshold brush", "Only voxels in the HU range"),
  binding("Paint", "smaller", "[ ,", "Smaller", "A smaller brush"),
  binding("Paint", "larger", "] .", "Larger", "A larger brush"),
  binding("Paint", "undo", "z ctrl+z", "Undo", "Take the last change back"),
  binding("Paint", "redo", "y ctrl+y shift+z ctrl+shift+z", "Redo", "Do it again"),
  binding("Shape", "interpolate", "i", "Interpolate", "Fill the slices between those you drew"),
  binding("Shape", "fill", "l", "Fill holes", "Close holes in each slice"),
  binding("Shape", "grow", "g", "Grow", "Add a layer of one voxel around the mask"),
  binding("Shape", "shrink", "h", "Shrink", "Take a layer of one voxel off the mask"),
  binding("Shape", "largest", "k", "Largest", "Keep the largest connected part only"),
  binding("View", "axial", "1", "Axial", "One axial slice"),
  binding("View", "coronal", "2", "Coronal", "One coronal slice"),
  binding("View", "sagittal", "3", "Sagittal", "One sagittal slice"),
  binding("View", "all", "4", "All", "Three slices and 3-D"),
  binding("View", "solid", "5", "3-D", "The mask in space"),
  binding("View", "window", "w", "Window", "The next grey-level window"),
  binding("View", "centre", "c", "Centre", "Move to the middle of the mask"),
  binding("View", "fit", "0", "Whole slice", "No zoom, not moved"),
  binding("View", "slice-up", "arrowup pageup", "Slice up", "One slice on"),
  binding("View", "slice-down", "arrowdown pagedown", "Slice down", "One slice back"),
  binding("View", "mask", "d space", "Mask", "Show or hide the mask"),
  binding("View", "others", "q", "Other organs", "Show or hide the other organs"),
  binding("View", "uncertainty", "m", "Uncertainty", "Where the model was unsure"),
  binding("View", "previous", "p", "Previous revision", "The one before this"),
  binding("View", "help", "?", "Help", "This page"),
];

export interface Pressed {
  readonly key: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly shiftKey: boolean;
  readonly altKey: boolean;
}

/** The command of a key, or null. Shift only counts with letters and named keys: "?" is typed with it anyway. */
export function commandOf(pressed: Pressed): Command | null {
  if (pressed.altKey) return null;
  const name = pressed.key === " " ? "space" : pressed.key.toLowerCase();
  const shift = pressed.shiftKey && /^[a-z]+$/.test(name) ? "shift+" : "";
  const combined = `${pressed.ctrlKey || pressed.metaKey ? "ctrl+" : ""}${shift}${name}`;
  return BINDINGS.find(({ keys }) => keys.includes(combined))?.command ?? null;
}

export function bindingOf(command: Command): Binding {
  return BINDINGS.find((one) => one.command === command)!;
}

/** A key as people read it. */
export function keyName(key: string): string {
  const names: Record<string, string> = { arrowup: "↑", arrowdown: "↓", escape: "Esc", space: "Space", backspace: "⌫" };
  return key
    .split("+")
    .map((part) => names[part] ?? (part.length === 1 ? part.toUpperCase() : part[0].toUpperCase() + part.slice(1)))
    .join(" ");
}
