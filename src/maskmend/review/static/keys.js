/** Every key of the page, in one table: what is dispatched is what the help lists. */

/** [keys, action, name, group]; a key with "+" needs the modifier held. */
export const BINDINGS = [
  [["a"], "accept", "Accept the finding", "Decide"],
  [["r"], "reject", "Reject it", "Decide"],
  [["u"], "unsure", "Unsure", "Decide"],
  [["e"], "edit", "Edit the suggestion", "Decide"],
  [["c"], "comment", "Comment", "Decide"],
  [["z"], "undo", "Undo my last decision", "Decide"],
  [["Shift+a"], "acceptCase", "Accept the whole case", "Decide"],
  [["Shift+r"], "rejectCase", "Reject the whole case", "Decide"],
  [["n", "j"], "next", "Next finding", "Move"],
  [["p", "k"], "previous", "Previous finding", "Move"],
  [["/"], "search", "Search case names", "Move"],
  [["PageDown", "."], "sliceDown", "Next slice", "Move"],
  [["PageUp", ","], "sliceUp", "Previous slice", "Move"],
  [["b"], "bestSlice", "The finding's best slice", "Move"],
  [["1"], "axis0", "First direction", "Move"],
  [["2"], "axis1", "Second direction", "Move"],
  [["3"], "axis2", "Third direction", "Move"],
  [["t"], "toggle", "Given, suggested in turn", "Look"],
  [["s"], "side", "Side by side", "Look"],
  [["d"], "difference", "Difference", "Look"],
  [["m"], "decided", "As decided so far", "Look"],
  [["o"], "style", "Outline or fill", "Look"],
  [["h"], "labels", "Hide or show labels", "Look"],
  [["g"], "mark", "Hide or show the mark", "Look"],
  [["f"], "zoomFinding", "Zoom to the finding", "Look"],
  [["w"], "zoomWhole", "Whole picture", "Look"],
  [["+", "="], "zoomIn", "Zoom in", "Look"],
  [["-"], "zoomOut", "Zoom out", "Look"],
  [["i"], "windowAuto", "Automatic window", "Look"],
  [["v"], "view3d", "3D view", "Look"],
  [["?"], "help", "This help", "Page"],
];

/** While an edit is open these come first. */
export const EDIT_BINDINGS = [
  [["Enter"], "editStore", "Store the edit", "Edit"],
  [["Escape"], "editLeave", "Leave without storing", "Edit"],
  [["x"], "editTool", "Brush or eraser", "Edit"],
  [["["], "editSmaller", "Smaller brush", "Edit"],
  [["]"], "editLarger", "Larger brush", "Edit"],
  [["Ctrl+z", "Meta+z"], "editUndo", "Undo a stroke", "Edit"],
  [["Ctrl+y", "Ctrl+Shift+z", "Meta+Shift+z"], "editRedo", "Redo a stroke", "Edit"],
];

/** While an edit is open these would lose it, or decide beside it. */
const NOT_IN_EDIT = new Set([
  "accept", "reject", "unsure", "edit", "comment", "undo", "acceptCase", "rejectCase", "next", "previous",
  "side", "difference", "toggle", "decided", "view3d", "search",
]);

const ONCE = new Set(["accept", "reject", "unsure", "undo", "acceptCase", "rejectCase", "edit", "comment", "editStore"]);

/** Of the mouse and the picture, for the help alone. */
export const GESTURES = [
  ["↑ ↓ Home End", "In the list", "Move"],
  ["Wheel", "Slices; zoom in 2D, or with Ctrl", "Look"],
  ["Drag", "Move; also the arrow keys", "Look"],
  ["Right drag", "Window, level", "Look"],
  ["Drag", "Paint; Shift: the other tool", "Edit"],
  ["Space drag", "Move; also the middle button", "Edit"],
  ["Arrows", "Move the brush; Space: a dab", "Edit"],
];

/**
 * Call the action of a key.  act: (action) -> false when it does not apply.  state: () -> {editing,
 * single} where single says whether keys without a modifier are wanted at all.
 */
export function listen(act, state) {
  document.addEventListener("keydown", (event) => {
    const { editing, single } = state();
    const leaves = editing && event.key === "Escape";
    if (event.defaultPrevented || document.querySelector("dialog[open]") || (isWriting(event.target) && !leaves)) return;
    const action = actionOf(event, editing, single);
    // a key that is held must not decide on what nobody has seen
    if (event.repeat && ONCE.has(action)) return;
    if (action && act(action) !== false) event.preventDefault();
  });
}

function actionOf(event, editing, single) {
  const names = nameOf(event);
  const own = editing ? EDIT_BINDINGS : [];
  const found = [...own, ...BINDINGS].find(([keys]) => keys.some((key) => names.includes(key)));
  if (!found) return null;
  const [keys, action] = found;
  // Enter and Space are a button's own; letters are not
  if (action === "editStore" && event.target.closest("button, select, input, [role=option]")) return null;
  if (editing && NOT_IN_EDIT.has(action)) return null;
  if (event.target.matches("input[type=range]") && ["sliceUp", "sliceDown"].includes(action)) return null;
  const plain = keys.some((key) => key.length === 1 || key.startsWith("Shift+"));
  return plain && !single ? null : action;
}

/** The names that a key press goes by, with its modifiers and, for signs, without Shift. */
function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const held = [event.ctrlKey && "Ctrl", event.metaKey && "Meta", event.altKey && "Alt"].filter(Boolean);
  const letter = /^[a-z]$/.test(key);
  if (event.shiftKey && (letter || key.length > 1)) return [[...held, "Shift", key].join("+")];
  return [[...held, key].join("+")];
}

function isWriting(target) {
  return target instanceof Element && target.matches("textarea, select, input:not([type=range], [type=checkbox], [type=radio]), [contenteditable]");
}
