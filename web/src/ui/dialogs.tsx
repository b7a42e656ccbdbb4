// Dialogs: help, a note for a flag, dropping strokes, and which mask stays after a conflict.
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Binding, BINDINGS, keyName } from "../review/keys";
import { Part } from "./use";

export function Dialogs({ reviewer, state }: Part) {
  const close = () => reviewer.store.tell({ type: "dialog", dialog: "none" });
  if (state.phase === "conflict") return <ConflictDialog reviewer={reviewer} state={state} />;
  if (state.dialog === "help") return <Help close={close} />;
  if (state.dialog === "flag") return <FlagDialog close={close} flag={(note) => void reviewer.flag(note)} />;
  if (state.dialog === "drop") return <DropDialog close={close} drop={() => void reviewer.dropStrokes()} />;
  return null;
}

/** Without `close` it stays until it is answered. */
function Modal({ title, close, children }: { title: string; close?: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const cancel = (event: Event) => {
    event.preventDefault();
    close?.();
  };
  const closed = () => (close ? close() : dialog.current?.showModal()); // a browser may close it in spite of all
  return (
    <dialog ref={dialog} aria-labelledby="dialog-title" onCancel={cancel} onClose={closed}>
      <h2 id="dialog-title">{title}</h2>
      {children}
    </dialog>
  );
}

function ConflictDialog({ reviewer, state }: Part) {
  const { conflict } = state;
  if (!conflict) return null;
  return (
    <Modal title="Somebody else was faster">
      <p>While you worked, revision {conflict.head} was saved. Nothing was overwritten.</p>
      {conflict.kept !== null && <p>Yours is kept as revision {conflict.kept}, whatever you choose.</p>}
      {conflict.kept === null && conflict.strokes && <p>Yours is a draft so far: if you choose theirs, it is dropped.</p>}
      {conflict.strokes && <p>Which one do you want to go on with?</p>}
      <div class="answers">
        <button type="button" data-answer="theirs" autofocus onClick={() => void reviewer.takeTheirs()}>
          {conflict.strokes ? `Theirs (revision ${conflict.head})` : "Look at it, then decide again"}
        </button>
        {conflict.strokes && (
          <button type="button" data-answer="mine" onClick={() => reviewer.keepMine()}>
            Mine: back to my strokes, to save them on top
          </button>
        )}
      </div>
    </Modal>
  );
}

function FlagDialog({ close, flag }: { close: () => void; flag: (note: string) => void }) {
  const note = useRef<HTMLTextAreaElement>(null);
  const send = (event: Event) => {
    event.preventDefault();
    flag(note.current?.value.trim() ?? "");
  };
  return (
    <Modal title="Flag for somebody else" close={close}>
      <form onSubmit={send}>
        <label>What is odd here?
          <textarea ref={note} rows={4} maxLength={1000} autofocus required />
        </label>
        <div class="answers">
          <button type="submit" class="good">Flag</button>
          <button type="button" onClick={close}>Cancel</button>
        </div>
      </form>
    </Modal>
  );
}

function DropDialog({ close, drop }: { close: () => void; drop: () => void }) {
  return (
    <Modal title="Drop your strokes?" close={close}>
      <p>Your unsaved changes to this organ are forgotten, and their draft too.</p>
      <div class="answers">
        <button type="button" autofocus onClick={close}>Keep them</button>
        <button type="button" data-answer="drop" onClick={drop}>Drop them</button>
      </div>
    </Modal>
  );
}

const GROUPS: readonly Binding["group"][] = ["Decide", "Paint", "View", "Shape"];

function Help({ close }: { close: () => void }) {
  return (
    <Modal title="How to review" close={close}>
      <p>
        Each line of the queue is one organ in one CT. Look at the coloured mask. Right as it is: <kbd>A</kbd>. Nearly right: choose
        the brush (<kbd>B</kbd>) or the eraser (<kbd>E</kbd>), mend it, save (<kbd>S</kbd>). Hopeless: <kbd>R</kbd>. Not there at all: <kbd>X</kbd>.
        What you accept, correct or mark absent is what the next training learns from. Strokes are kept as you paint; every decision can be reopened.
      </p>
      <p class="quiet">Wheel: slices. Ctrl and wheel: zoom. Shift and wheel: size of the brush. Right button: move the picture. With a pen chosen, the left button paints; in Look it moves the crosshair.</p>
      <div class="keys">
        {GROUPS.map((group) => (
          <table key={group} class={group.toLowerCase()}>
            <caption>{group}</caption>
            <tbody>{BINDINGS.filter((one) => one.group === group).map(KeyRow)}</tbody>
          </table>
        ))}
      </div>
      <div class="answers"><button type="button" autofocus onClick={close}>Close <kbd>Esc</kbd></button></div>
    </Modal>
  );
}

function KeyRow({ command, keys, title, means }: Binding) {
  return (
    <tr key={command} title={means}>
      <td><kbd>{keyName(keys[0])}</kbd></td>
      <th scope="row">{title}</th>
      <td class="quiet">{means}</td>
    </tr>
  );
}
