/** Small helpers for the page's elements.  Text is only ever set as text, never as HTML. */

export const byId = (id) => document.getElementById(id);

/** element("button", {class: "x", "aria-label": "y", text: "z"}, child, ...) */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") made.textContent = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** Set the text only where it differs, so that live regions speak of changes alone. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Fill a <select> with [value, text] pairs and keep its value where it is still there. */
export function fillSelect(select, pairs) {
  const before = select.options.length ? select.value : null;
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value, text })));
  if (pairs.some(([value]) => value === before)) select.value = before;
}

let spoken = 0;

/** Say something to a screen reader, the same sentence twice if need be. */
export function announce(text) {
  const region = byId("announcer");
  // a no-break space makes a repeated sentence a new one
  region.textContent = text + (spoken++ % 2 ? "\u00a0" : "");
}

/** A setting of this browser; without storage (private windows) it lasts as long as the page. */
const unsaved = new Map();
export function recall(key) {
  try {
    return localStorage.getItem(`maskmend.${key}`) ?? unsaved.get(key) ?? null;
  } catch {
    return unsaved.get(key) ?? null;
  }
}
export function remember(key, value) {
  unsaved.set(key, value);
  try {
    if (value === null) localStorage.removeItem(`maskmend.${key}`);
    else localStorage.setItem(`maskmend.${key}`, value);
  } catch {
    // kept in `unsaved`
  }
}
