/** The dialogs: who reviews, a comment, many decisions at once, the keys. */

import { postBulk } from "./api.js";
import { byId, element, fillSelect, recall, remember, setText } from "./dom.js";
import { BINDINGS, EDIT_BINDINGS, GESTURES } from "./keys.js";
import { number, percent, structureName, typeName } from "./words.js";

for (const button of document.querySelectorAll("dialog .closes")) {
  button.addEventListener("click", () => button.closest("dialog").close("cancel"));
}

/** Name of the reviewer, asked for where it is not known.  given: by the command line, or null.  changed: (name). */
export function setUpReviewer(given, changed) {
  const dialog = byId("reviewer-dialog");
  const field = byId("reviewer-name");
  const ask = () => {
    field.value = recall("reviewer") ?? "";
    dialog.showModal();
    field.select();
  };
  // nothing can be decided without a name
  dialog.addEventListener("cancel", (event) => recall("reviewer") || event.preventDefault());
  byId("reviewer-form").addEventListener("submit", (event) => {
    const name = field.value.trim();
    if (!name) {
      event.preventDefault();
      field.value = "";
      field.reportValidity();
      return;
    }
    remember("reviewer", name);
    changed(name);
  });
  byId("reviewer").addEventListener("click", ask);
  if (given) remember("reviewer", given);
  const known = recall("reviewer");
  if (known) changed(known);
  else ask();
}

/** Ask for a comment.  send: (text). */
export function askComment(send) {
  const dialog = byId("comment-dialog");
  const field = byId("comment-text");
  field.value = "";
  byId("comment-form").onsubmit = (event) => {
    const text = field.value.trim();
    if (text) send(text);
    else event.preventDefault();
  };
  field.onkeydown = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("comment-form").requestSubmit();
  };
  dialog.showModal();
}

/**
 * Many decisions at once: counted by the server before they are confirmed.
 * reviewer: name.  hint: of hintOf.  precision: of /api/progress.  done: (answer, verdict).  failed: (error).
 */
export function askBulk({ reviewer, hint, precision, done, failed }) {
  const dialog = byId("bulk-dialog");
  const [verdict, type, structure, score] = ["verdict", "type", "structure", "score"].map((name) => byId(`bulk-${name}`));
  verdict.value = "accept";
  type.value = hint?.type ?? "";
  structure.value = "";
  score.value = "";
  let turn = 0;
  const body = (dry) => {
    const filter = { type: type.value, structure: structure.value, state: "open" };
    if (score.value !== "") filter.min_score = Number(score.value);
    return { filter, verdict: verdict.value, reviewer, dry_run: dry };
  };
  const count = async () => {
    const mine = ++turn;
    byId("bulk-ok").disabled = true;
    setText(byId("bulk-count"), "Counting…");
    try {
      const answer = await postBulk(body(true));
      if (mine !== turn) return;
      setText(byId("bulk-count"), `${number(answer.count, 9)} finding${answer.count === 1 ? "" : "s"}`);
      setText(byId("bulk-ok"), `${verdict.selectedOptions[0].text} ${number(answer.count, 9)}`);
      byId("bulk-ok").disabled = !answer.count;
    } catch (error) {
      setText(byId("bulk-count"), error.message);
    }
    setText(byId("bulk-precision"), measuredText(precision, type.value));
  };
  for (const field of [verdict, type, structure, score]) field.onchange = count;
  score.oninput = count;
  byId("bulk-form").onsubmit = async () => {
    try {
      done(await postBulk(body(false)), verdict.value);
    } catch (error) {
      failed(error);
    }
  };
  dialog.showModal();
  count();
}

function measuredText(precision, type) {
  const measured = type ? precision?.by_type?.[type] : precision;
  if (!measured?.judged) return "None of these has been judged yet: look at some first.";
  const { accepted, judged, value, low, high } = measured;
  return `Of those judged, ${number(accepted, 9)} of ${number(judged, 9)} were right: ${percent(value)}, 95 % interval ${percent(low)} to ${percent(high)}.`;
}

/** Fill the selects that list types and structures. */
export function setUpBulk(run) {
  fillSelect(byId("bulk-type"), [["", "all types"], ...run.types.map((type) => [type, typeName(type)])]);
  fillSelect(byId("bulk-structure"), [["", "all structures"], ...run.structures.map((name) => [name, structureName(name)])]);
}

/** The table of keys, and the switch for those without a modifier. */
export function setUpHelp() {
  const rows = [...BINDINGS, ...EDIT_BINDINGS].map(([keys, , name, group]) => ({ keys: keys.filter((key) => !/Meta|Ctrl\+Shift/.test(key)).map(shown), name, group }));
  rows.push(...GESTURES.map(([keys, name, group]) => ({ keys: [keys], name, group })));
  const groups = ["Decide", "Move", "Look", "Edit", "Page"].map((group) => {
    const list = element("dl", { class: "keys" });
    for (const { keys, name } of rows.filter((row) => row.group === group)) {
      list.append(element("dt", {}, ...keys.map((key) => element("kbd", { text: key }))), element("dd", { text: name }));
    }
    return element("section", {}, element("h3", { text: group }), list);
  });
  byId("help-columns").replaceChildren(...groups);
  byId("help").addEventListener("click", showHelp);
  const single = byId("single-keys");
  single.checked = recall("single-keys") !== "no";
  single.addEventListener("change", () => remember("single-keys", single.checked ? "yes" : "no"));
}

export const showHelp = () => byId("help-dialog").showModal();

function shown(key) {
  const names = { PageDown: "Page down", PageUp: "Page up", Escape: "Esc" };
  if (key === "+") return key;
  return key.split("+").map((part) => names[part] ?? (/^[a-z]$/.test(part) ? part.toUpperCase() : part)).join(" ");
}
