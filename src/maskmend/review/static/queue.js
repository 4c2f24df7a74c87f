/** The list of findings, best first: only the rows in sight exist, and pages come as they are needed. */

import { getQueue } from "./api.js";
import { element, setText } from "./dom.js";
import { sentence, sizeOf, stateName, structureName, sureness, whatOf } from "./words.js";

const PAGE = 100;
const ROW = 46; // CSS pixels, as in style.css
const SPARE = 6; // rows above and below what is in sight

export class Queue {
  /**
   * list: the scrolling element, role listbox.  hooks: {selected(finding, index), counted(total),
   * failed(error)}.
   */
  constructor(list, hooks) {
    this.list = list;
    this.hooks = hooks;
    this.space = element("div", { class: "rows", role: "presentation" });
    list.append(this.space);
    this.rows = new Map(); // index -> element
    this.filter = {};
    this.clear();
    list.addEventListener("scroll", () => this.#later(), { passive: true });
    list.addEventListener("click", (event) => this.#clicked(event));
    list.addEventListener("keydown", (event) => this.#pressed(event));
    new ResizeObserver(() => this.render()).observe(list);
  }

  clear() {
    this.controller?.abort();
    this.controller = new AbortController();
    this.items = []; // in the order of the server when the filter was set; may have holes
    this.places = new Map(); // id -> index
    this.loading = new Map(); // page -> promise
    this.total = 0;
    this.index = -1;
  }

  get selected() {
    return this.items[this.index];
  }

  /** Ask anew.  filter: {type, structure, state, q, case}.  keep: id to stay at where it is listed. */
  async open(filter, keep = null) {
    this.filter = filter;
    this.clear();
    this.list.setAttribute("aria-busy", "true");
    try {
      await this.#load(0);
    } finally {
      this.list.setAttribute("aria-busy", "false");
    }
    this.list.scrollTop = 0;
    this.render();
    const place = keep === null ? 0 : (this.places.get(keep) ?? 0);
    if (this.total) await this.select(place);
    else this.hooks.selected(null, -1);
  }

  /** Go to a row, loading it if need be.  Returns whether there is one. */
  async select(index) {
    if (index < 0 || index >= this.total) return false;
    this.index = index;
    this.#reveal(index);
    const controller = this.controller;
    if (!this.items[index]) await this.#load(Math.floor(index / PAGE));
    // somewhere else by now
    if (controller !== this.controller || this.index !== index) return true;
    this.render();
    if (this.items[index]) this.hooks.selected(this.items[index], index);
    else return this.select(index + 1);
    this.#loadSoon(index);
    return true;
  }

  move(steps) {
    const wanted = Math.min(Math.max(this.index + steps, 0), this.total - 1);
    return wanted === this.index ? Promise.resolve(false) : this.select(wanted);
  }

  async selectId(id) {
    const index = this.places.get(id);
    return index === undefined ? false : this.select(index);
  }

  /** The findings after the selected one that are known already. */
  following(count) {
    return this.items.slice(this.index + 1, this.index + 1 + count).filter(Boolean);
  }

  find(id) {
    return this.items[this.places.get(id)];
  }

  /** A finding has another state now. */
  update(finding) {
    const index = this.places.get(finding.id);
    if (index === undefined) return;
    this.items[index] = { ...this.items[index], sent: false, ...finding };
    this.#drop(index);
    this.render();
  }

  /** A decision on a finding is on its way. */
  sent(id) {
    const item = this.find(id);
    if (item && !item.sent) this.update({ ...item, sent: true });
  }

  /** Findings of a case that are in the list. */
  ofCase(caseIndex) {
    return this.items.filter((item) => item?.case_index === caseIndex);
  }

  async #load(page) {
    if (!this.loading.has(page)) {
      const offset = page * PAGE;
      const { signal } = this.controller;
      const asked = getQueue({ ...this.filter, offset: offset - this.#departed(offset), limit: PAGE }, signal);
      const loaded = asked.then(({ total, items }) => this.#take(offset, total, items, signal));
      loaded.catch((error) => {
        this.loading.delete(page);
        if (!signal.aborted) this.hooks.failed(error);
      });
      this.loading.set(page, loaded);
    }
    try {
      await this.loading.get(page);
    } catch {
      // `failed` has been told
    }
  }

  #take(offset, total, items, signal) {
    if (signal.aborted) return;
    if (!this.items.length) this.total = total;
    // what another reviewer's decisions have moved forward is in the list already
    const fresh = items.filter(({ id }) => !this.places.has(id));
    fresh.forEach((item, i) => {
      this.items[offset + i] = item;
      this.places.set(item.id, offset + i);
    });
    this.hooks.counted(this.total);
    this.render();
  }

  /**
   * How many rows before an offset have left the server's list by being decided.  They stay in ours
   * until the filter is set anew, so that nothing jumps.
   */
  #departed(offset) {
    const { state } = this.filter;
    if (!state) return 0;
    let count = 0;
    for (let i = 0; i < offset; i++) if (this.items[i] && this.items[i].state !== state) count++;
    return count;
  }

  #loadSoon(index) {
    for (const near of [index + 20, index - 20]) {
      if (near >= 0 && near < this.total && !this.items[near]) this.#load(Math.floor(near / PAGE));
    }
  }

  #later() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.render();
    });
  }

  render() {
    this.space.style.height = `${this.total * ROW}px`;
    const { scrollTop, clientHeight } = this.list;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - SPARE);
    const end = Math.min(this.total, Math.ceil((scrollTop + clientHeight) / ROW) + SPARE);
    for (const index of [...this.rows.keys()]) if (index < first || index >= end) this.#drop(index);
    for (let index = first; index < end; index++) this.#row(index);
    const active = this.rows.get(this.index);
    if (active) this.list.setAttribute("aria-activedescendant", active.id);
    else this.list.removeAttribute("aria-activedescendant");
    for (const page of new Set([first, Math.max(first, end - 1)].map((i) => Math.floor(i / PAGE)))) {
      if (first < end && !this.loading.has(page)) this.#load(page);
    }
  }

  #drop(index) {
    this.rows.get(index)?.remove();
    this.rows.delete(index);
  }

  #row(index) {
    const item = this.items[index];
    const selected = String(index === this.index);
    let row = this.rows.get(index);
    if (row && row.dataset.id === (item?.id ?? "")) {
      if (row.getAttribute("aria-selected") !== selected) row.setAttribute("aria-selected", selected);
      return;
    }
    row?.remove();
    row = rowOf(item, index, this.total);
    row.setAttribute("aria-selected", selected);
    row.style.transform = `translateY(${index * ROW}px)`;
    this.rows.set(index, row);
    this.space.append(row);
  }

  #reveal(index) {
    const { scrollTop, clientHeight } = this.list;
    if (index * ROW < scrollTop) this.list.scrollTop = index * ROW;
    else if ((index + 2) * ROW > scrollTop + clientHeight) this.list.scrollTop = (index + 2) * ROW - clientHeight;
  }

  #clicked(event) {
    const row = event.target.closest("[role=option]");
    if (row) this.select(Number(row.dataset.index));
  }

  #pressed(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const screen = Math.max(1, Math.floor(this.list.clientHeight / ROW) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: screen, PageUp: -screen, Home: -this.total, End: this.total };
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    this.move(steps[event.key]);
  }
}

function rowOf(item, index, total) {
  const row = element("div", {
    class: "row", role: "option", id: `row-${index}`, "aria-posinset": index + 1, "aria-setsize": total,
    "data-testid": "row", "data-index": index, "data-id": item?.id ?? "", "data-state": item?.state ?? "",
  });
  if (!item) {
    row.append(element("span", { class: "row-what", text: "…" }));
    return row;
  }
  row.setAttribute("aria-label", `${index + 1}. ${sentence(item)}; case ${item.case}; ${stateName(item.state)}`);
  const what = element("span", { class: "row-what", text: `${structureName(item.structure)}: ${whatOf(item)}` });
  const facts = element("span", { class: "row-facts" });
  setText(facts, `${item.case} · ${sizeOf(item)} · ${sureness(item.margin)}`);
  row.append(
    element("span", { class: "row-rank", text: String(item.rank) }),
    what,
    element("span", { class: "row-state", text: item.sent ? "sending…" : item.state === "open" ? "" : stateName(item.state) }),
    facts,
  );
  row.title = `${item.case}: ${sentence(item)}`;
  return row;
}
