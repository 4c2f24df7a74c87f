/** The bars around the picture: which labels, which slice, which window. */

import { byId, element, fillSelect, recall, remember, setText } from "./dom.js";
import { number, unitName } from "./words.js";
import { picturedAxes } from "./view.js";

const CT = [
  ["lung", "CT lung", -1350, 150], ["soft", "CT soft tissue", -160, 240], ["bone", "CT bone", -450, 1050], ["brain", "CT brain", 0, 80],
];
const PLANE_OF = { S: "Axial", I: "Axial", A: "Coronal", P: "Coronal", R: "Sagittal", L: "Sagittal" };

export class Looking {
  /** hooks: {options(), place(), window(settled)}: what has changed. */
  constructor(hooks) {
    this.hooks = hooks;
    this.mode = "difference";
    this.lastSingle = "suggested"; // of given and suggested, the one that T shows next
    this.meta = null;
    this.finding = null;
    this.axis = 0;
    this.slice = 0;
    this.channel = 0;
    this.preset = "auto";
    this.window = { low: 0, high: 255 };
    this.#listen();
  }

  get style() {
    return document.querySelector("input[name=style]:checked").value;
  }

  get opacity() {
    return Number(byId("opacity").value);
  }

  get place() {
    return { index: this.meta.index, axis: this.axis, slice: this.slice, channel: this.channel };
  }

  get slices() {
    return this.meta?.volume ? this.meta.shape[this.axis] : 1;
  }

  /** Another finding is looked at: its best slice, and its case's window unless a preset is held. */
  setFinding(meta, finding) {
    const sameCase = this.meta?.index === meta.index;
    this.meta = meta;
    this.finding = finding;
    if (!sameCase) this.#setCase();
    this.axis = 0;
    this.slice = this.bestSlice();
    this.#showPlace();
  }

  /** Slice that shows the finding best, along the axis that is cut. */
  bestSlice() {
    if (!this.meta.volume) return 0;
    if (this.axis === 0 && this.finding.best_slice !== null) return this.finding.best_slice;
    const middle = Math.round(this.finding.centroid[this.axis]);
    return Math.min(Math.max(middle, 0), this.slices - 1);
  }

  setAxis(axis) {
    if (!this.meta?.volume || axis === this.axis) return false;
    this.axis = axis;
    this.slice = this.bestSlice();
    this.#showPlace();
    this.hooks.place(true);
    return true;
  }

  setSlice(slice) {
    const wanted = Math.min(Math.max(slice, 0), this.slices - 1);
    if (!this.meta || wanted === this.slice) return false;
    this.slice = wanted;
    this.#showPlace();
    this.hooks.place(false);
    return true;
  }

  setMode(mode) {
    if (mode === "given" || mode === "suggested") this.lastSingle = mode;
    this.mode = mode;
    document.querySelector(`input[name=mode][value=${mode}]`).checked = true;
    byId("change-legend").hidden = mode !== "difference";
    this.hooks.options();
  }

  toggle() {
    const other = { given: "suggested", suggested: "given" };
    this.setMode(other[this.mode] ?? this.lastSingle);
  }

  switchStyle() {
    const other = this.style === "fill" ? "outline" : "fill";
    document.querySelector(`input[name=style][value=${other}]`).checked = true;
    remember("style", other);
    this.hooks.options();
  }

  /** The window of a case by the preset that is chosen; of the shown case what was set by hand. */
  windowOf(meta) {
    if (this.preset === "own" && meta.index === this.meta?.index) return this.window;
    const { low, high, min, max } = windowsOf(meta, this.channel);
    if (this.preset === "full") return { low: min, high: max > min ? max : min + 1 };
    const known = CT.find(([name]) => name === this.preset);
    if (known && isHounsfield(meta)) return { low: known[2], high: known[3] };
    return { low, high };
  }

  setWindow(window, settled) {
    this.preset = "own";
    this.window = window;
    this.#showWindow();
    this.hooks.window(settled);
  }

  setPreset(preset) {
    this.preset = preset;
    this.window = this.windowOf(this.meta);
    this.#showWindow();
    this.hooks.window(true);
  }

  #setCase() {
    const { meta } = this;
    if (this.preset === "own") this.preset = "auto";
    this.channel = Math.min(this.channel, Math.max((meta.channels ?? 1) - 1, 0));
    byId("channel-label").hidden = meta.rgb || !(meta.channels > 1);
    fillSelect(byId("channel"), [...Array(meta.channels ?? 1).keys()].map((c) => [String(c), String(c + 1)]));
    byId("channel").value = String(this.channel);
    this.window = this.windowOf(meta);
    for (const id of ["preset", "window-width", "window-level"]) byId(id).disabled = meta.rgb;
    for (const input of document.querySelectorAll("input[name=axis]")) {
      input.disabled = !meta.volume;
      const name = meta.directions ? PLANE_OF[meta.directions[Number(input.value)]] : `Axis ${Number(input.value) + 1}`;
      setText(input.nextElementSibling, name);
    }
    this.#showWindow();
  }

  #showPlace() {
    const { meta, axis, slice, slices } = this;
    document.querySelector(`input[name=axis][value="${axis}"]`).checked = true;
    const slider = byId("slice");
    slider.max = String(slices - 1);
    slider.value = String(slice);
    slider.disabled = !meta.volume;
    byId("best-slice").disabled = !meta.volume;
    document.body.classList.toggle("flat", !meta.volume);
    const [rows, columns] = picturedAxes(meta.shape.length, axis).map((a) => [meta.shape[a], meta.spacing?.[a]]);
    const size = `${rows[0]} × ${columns[0]}`;
    const fine = meta.spacing ? `, ${number(rows[1], 2)} × ${number(columns[1], 2)} ${unitName("mm")}` : "";
    const text = meta.volume ? `${slice + 1} / ${slices}` : `${size}${fine}`;
    slider.setAttribute("aria-valuetext", `slice ${slice + 1} of ${slices}`);
    setText(byId("slice-text"), text);
    byId("slice-text").title = `${size} pixels${fine}`;
  }

  #showWindow() {
    const presets = [["auto", "Automatic"], ["full", "All values"]];
    if (isHounsfield(this.meta)) presets.push(...CT.map(([value, text]) => [value, text]));
    if (this.preset === "own") presets.push(["own", "By hand"]);
    fillSelect(byId("preset"), presets);
    byId("preset").value = presets.some(([value]) => value === this.preset) ? this.preset : "auto";
    const { low, high } = this.window;
    const { min, span } = this.#range();
    byId("window-width").value = String(Math.round(1000 * Math.sqrt(Math.min((high - low) / span, 1))));
    byId("window-level").value = String(Math.round((1000 * ((low + high) / 2 - min)) / span));
    byId("window-width").setAttribute("aria-valuetext", number(high - low));
    byId("window-level").setAttribute("aria-valuetext", number((low + high) / 2));
  }

  #range() {
    const { min, max } = windowsOf(this.meta, this.channel);
    return { min, span: Math.max(max - min, 1e-6) };
  }

  /** Widths go by their square: half of the slider is the lower quarter, where most windows are. */
  #slid(settled) {
    if (!this.meta) return;
    const { min, span } = this.#range();
    const width = Math.max((Number(byId("window-width").value) / 1000) ** 2, 1e-4) * span;
    const level = min + (Number(byId("window-level").value) / 1000) * span;
    this.setWindow({ low: level - width / 2, high: level + width / 2 }, settled);
  }

  #listen() {
    const changed = (name, act) => {
      for (const input of document.querySelectorAll(`input[name=${name}]`)) input.addEventListener("change", () => act(input.value));
    };
    changed("mode", (mode) => this.setMode(mode));
    changed("axis", (axis) => this.setAxis(Number(axis)));
    changed("style", (style) => {
      remember("style", style);
      this.hooks.options();
    });
    const style = recall("style") === "fill" ? "fill" : "outline";
    document.querySelector(`input[name=style][value=${style}]`).checked = true;
    byId("opacity").value = recall("opacity") ?? "0.4";
    byId("opacity").addEventListener("input", () => {
      remember("opacity", byId("opacity").value);
      this.hooks.options();
    });
    byId("slice").addEventListener("input", () => this.setSlice(Number(byId("slice").value)));
    byId("best-slice").addEventListener("click", () => this.setSlice(this.bestSlice()));
    byId("preset").addEventListener("change", () => this.setPreset(byId("preset").value));
    byId("channel").addEventListener("change", () => {
      this.channel = Number(byId("channel").value);
      this.setPreset(this.preset === "own" ? "auto" : this.preset);
    });
    for (const id of ["window-width", "window-level"]) {
      byId(id).addEventListener("input", () => this.#slid(false));
      byId(id).addEventListener("change", () => this.#slid(true));
    }
  }
}

/** {low, high, min, max} of a channel. */
const windowsOf = (meta, channel) => meta.windows?.[channel] ?? meta.window;

/** Values as those of a CT: air is far below 0. */
const isHounsfield = ({ window: { min, max }, rgb }) => !rgb && min <= -900 && max >= 200;
