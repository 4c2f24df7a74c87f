/** The right side: facts of the finding, who said what, its case, and the structures. */

import { byId, element, setText } from "./dom.js";
import { clock, number, percent, sizeOf, stateName, structureName, sureness, typeName, unitName, verdictDone, whatOf } from "./words.js";

export function showFinding(finding, total) {
  if (!finding) {
    setText(byId("what"), "Nothing to show");
    setText(byId("sure"), "No finding fits the filter.");
    byId("facts").replaceChildren();
    byId("said").replaceChildren();
    return;
  }
  setText(byId("what"), `${structureName(finding.structure)}: ${whatOf(finding)}`);
  setText(byId("sure"), `${sizeOf(finding)}, ${sureness(finding.margin)}`);
  byId("facts").replaceChildren(...factsOf(finding, total).flatMap(([name, text]) => [
    element("dt", { text: name }), element("dd", { text, title: text }),
  ]));
  showSaid(finding);
}

function factsOf(finding, total) {
  const distance = finding.distance === null ? "nothing is given" : `${number(finding.distance)} ${finding.unit === "px" ? "px" : "mm"}`;
  return [
    ["Case", finding.case],
    ["Type", typeName(finding.type)],
    ["Labels", `${structureName(finding.given)} → ${structureName(finding.suggested)}`],
    ["Size", `${sizeOf(finding)}${finding.unit === "px" ? "" : ` (${number(finding.pixels)} px)`}`],
    ["Share", `${percent(finding.share)} of the structure`],
    ["Distance", `${distance}${finding.distance === null ? "" : " to the given outline"}`],
    ["Margin", number(finding.margin, 2)],
    ["Rank", `${number(finding.rank)} of ${number(total)} (score ${number(finding.score)} ${unitName("")})`.replace(" )", ")")],
    ["State", stateName(finding.state)],
  ];
}

/** Verdicts and comments, in the order of their times. */
function showSaid(finding) {
  const verdicts = (finding.by ?? []).map(({ reviewer, verdict, time }) => ({ reviewer, time, text: verdictDone(verdict) }));
  const comments = (Array.isArray(finding.comments) ? finding.comments : []).map(({ reviewer, time, comment }) => ({
    reviewer, time, text: `“${comment}”`,
  }));
  const all = [...verdicts, ...comments].sort((a, b) => (a.time < b.time ? -1 : 1));
  const more = typeof finding.comments === "number" && finding.comments > comments.length;
  byId("said").replaceChildren(
    ...all.map(({ reviewer, time, text }) =>
      element("li", {}, element("strong", { text: reviewer }), ` ${text} `, element("time", { text: clock(time), datetime: time }))),
    ...(all.length || more ? [] : [element("li", { class: "faint", text: "Nothing yet." })]),
  );
}

/** The findings of the case, each a button.  choose: finding -> goes there. */
export function showCase(meta, current, choose) {
  if (!meta) {
    setText(byId("case-line"), "");
    byId("siblings").replaceChildren();
    return;
  }
  const { findings } = meta;
  const open = findings.filter(({ state }) => state === "open").length;
  setText(byId("case-line"), `${findings.length} finding${findings.length === 1 ? "" : "s"}, ${open} to do`);
  const buttons = findings.slice(0, 40).map((finding) => {
    const button = element("button", {
      type: "button", class: "sibling", "aria-current": finding.id === current?.id ? "true" : null,
      "data-state": finding.state, text: `${structureName(finding.structure)}: ${whatOf(finding)}, ${sizeOf(finding)}`,
    });
    button.append(element("span", { class: "sibling-state", text: finding.state === "open" ? "" : stateName(finding.state) }));
    button.addEventListener("click", () => choose(finding));
    return element("li", {}, button);
  });
  if (findings.length > 40) buttons.push(element("li", { class: "faint", text: `and ${findings.length - 40} more` }));
  byId("siblings").replaceChildren(...buttons);
}

/** A checkbox for each structure.  changed: (Set of hidden structures). */
export function showLegend(run, hidden, changed) {
  const rows = run.structures.map((structure, i) => {
    const box = element("input", { type: "checkbox", "data-testid": `shown-${i}` });
    box.checked = !hidden.has(structure);
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(structure);
      else hidden.add(structure);
      changed();
    });
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.backgroundColor = run.colours[structure] ?? "#888888";
    return element("li", {}, element("label", {}, box, swatch, element("span", { text: structureName(structure) })));
  });
  byId("legend").replaceChildren(...rows);
}
