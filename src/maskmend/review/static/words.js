/** Findings in plain words. */

const WHAT = {
  extra: "extra blob",
  over: "drawn too large",
  under: "drawn too small",
  shifted: "shifted",
  swapped: "wrong class",
  "left-right": "left and right swapped",
  rough: "rough outline",
  empty: "mask is empty",
};

const STATES = {
  open: "to do",
  accept: "accepted",
  reject: "rejected",
  unsure: "unsure",
  edit: "edited",
  conflict: "conflict",
};

const UNITS = { px: "px", mm: "mm", mm2: "mm²", mm3: "mm³" };

export function whatOf(finding) {
  if (finding.type === "missing") return finding.share >= 0.995 ? "missing" : "part missing";
  return WHAT[finding.type] ?? finding.type;
}

export const typeName = (type) => (type === "missing" ? "missing, or a part" : WHAT[type] ?? type);
export const stateName = (state) => STATES[state] ?? state;
export const unitName = (unit) => UNITS[unit] ?? unit;
export const structureName = (name) => name.replaceAll("_", " ");

/** A number as one reads it: three digits that matter, thousands apart. */
export function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-GB").replaceAll(",", "\u202f");
  return String(Number(value.toPrecision(digits)));
}

export const percent = (value) =>
  value === null || value === undefined ? "–" : `${Number((value * 100).toPrecision(value > 0.0995 ? 3 : 2))}\u00a0%`;

/** mm³ above a thousand are said in ml. */
export function sizeOf({ size, unit }) {
  return unit === "mm3" && size >= 1000 ? `${number(size / 1000)} ml` : `${number(size)} ${unitName(unit)}`;
}

/** margin: mean probability of the suggested minus that of the given class, -1..1. */
export function sureness(margin) {
  if (margin === null || margin === undefined) return "not rated";
  if (margin >= 0.8) return "very likely";
  if (margin >= 0.5) return "likely";
  return margin >= 0.2 ? "possible" : "doubtful";
}

/** "left clavicle: part missing, 430 mm², very likely" */
export function sentence(finding) {
  return `${structureName(finding.structure)}: ${whatOf(finding)}, ${sizeOf(finding)}, ${sureness(finding.margin)}`;
}

const VERDICTS = {
  accept: "accepted", reject: "rejected", unsure: "marked unsure", edit: "edited", comment: "commented on", undo: "reopened",
};
export const verdictDone = (verdict) => VERDICTS[verdict] ?? verdict;

/** "13:05" today, else "24 Nov 13:05", of an ISO time. */
export function clock(time) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return time;
  const hour = at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const today = at.toDateString() === new Date().toDateString();
  return today ? hour : `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${hour}`;
}
