/** The line at the bottom: how far, how fast, how right, and when the rest may be trusted. */

import { byId, element, setText } from "./dom.js";
import { number, percent, typeName } from "./words.js";

const STATES = ["accept", "edit", "reject", "unsure", "conflict"];
const ENOUGH = 20; // judged findings below which an interval is too wide to be trusted
const TRUSTED = 0.9; // lower end of the interval from which bulk acceptance is suggested

export function showProgress(progress) {
  const { total, decided, by_state: states, per_minute: rate } = progress;
  const bar = byId("progress-bar");
  bar.setAttribute("aria-valuemax", total);
  bar.setAttribute("aria-valuenow", decided);
  bar.setAttribute("aria-valuetext", `${decided} of ${total} findings decided`);
  bar.replaceChildren(...STATES.filter((state) => states[state]).map((state) => {
    const part = element("span", { class: `part ${state}` });
    part.style.width = `${(100 * states[state]) / Math.max(total, 1)}%`;
    return part;
  }));
  setText(byId("progress-text"), `${number(decided, 9)} of ${number(total, 9)} decided`);
  setText(byId("rate"), rate ? `${number(rate, 2)} a minute` : "");
  showPrecision(progress.precision);
  showAgreement(progress.agreement);
  const hint = hintOf(progress);
  setText(byId("hint"), hint?.text ?? "");
  byId("bulk").classList.toggle("primary", Boolean(hint));
  return hint;
}

function showPrecision(precision) {
  const { judged, value, low, high } = precision ?? {};
  const text = judged ? `${percent(value)} right (${percent(low)} to ${percent(high)}, ${number(judged, 9)} judged)` : "";
  setText(byId("precision"), text);
  byId("precision").title = text && "Share of the judged findings that were accepted or edited, with its 95 % interval";
}

function showAgreement(agreement) {
  const text = agreement?.pairs ? `reviewers agree on ${percent(agreement.share)}` : "";
  setText(byId("agreement"), text);
  const kappa = agreement?.kappa;
  byId("agreement").title = text && `${agreement.pairs} findings judged by two; Cohen's kappa ${number(kappa, 2)}`;
}

/** Where the rest may be accepted: {type, text}, type "" for all; null where nothing may. */
export function hintOf({ total, decided, precision }) {
  if (!precision || decided >= total) return null;
  const trusted = ({ judged, low }) => judged >= ENOUGH && low >= TRUSTED;
  if (trusted(precision)) return { type: "", text: `At least ${percent(precision.low)} are right: the rest may be accepted in bulk.` };
  const [type, measured] = Object.entries(precision.by_type ?? {}).find(([, part]) => trusted(part)) ?? [];
  return type ? { type, text: `“${typeName(type)}”: at least ${percent(measured.low)} are right; the rest of them may be accepted in bulk.` } : null;
}
