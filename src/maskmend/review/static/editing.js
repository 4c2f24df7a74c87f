/** Edit mode: the tools beside the picture, and the edit under way. */

import { Edit } from "./brush.js";
import { announce, byId, fillSelect, recall, remember, setText } from "./dom.js";
import { structureName } from "./words.js";

const TOGETHER = 4; // slices that are read at a time

export class Editing {
  /** hooks: {begun(), changed(), ended(), store(runs), failed(error)}. */
  constructor(pictures, viewer, hooks) {
    this.pictures = pictures;
    this.viewer = viewer;
    this.hooks = hooks;
    this.edit = null;
    this.ready = false;
    this.#listen();
  }

  get active() {
    return this.edit !== null;
  }

  /** Begin with the finding as it is suggested.  meta: of its case.  run: of /api/run. */
  async begin(finding, meta, run) {
    const { classes } = run.planes[finding.plane];
    const wanted = classes.indexOf(finding.suggested) || classes.indexOf(finding.given);
    const colour = wanted > 0 ? wanted : Math.max(1, classes.indexOf(finding.structure));
    const edit = new Edit({ shape: meta.shape, plane: finding.plane, classes, colour });
    edit.radius = Number(recall("brush") ?? byId("brush-size").value);
    this.edit = edit;
    this.ready = false;
    this.#showTools(true);
    this.hooks.begun();
    try {
      await this.#seed(edit, finding, meta);
    } catch (error) {
      if (this.edit === edit) this.leave();
      this.hooks.failed(error);
      return;
    }
    if (this.edit !== edit) return;
    this.ready = true;
    this.viewer.edit = edit;
    this.#show();
    this.viewer.edited();
    this.hooks.changed();
    announce(`Editing ${structureName(finding.structure)}. Enter stores, Escape leaves.`);
  }

  leave() {
    this.edit = null;
    this.ready = false;
    this.viewer.edit = null;
    this.viewer.edited();
    this.#showTools(false);
    this.hooks.ended();
  }

  store() {
    if (!this.ready) return false;
    const runs = this.edit.runs();
    this.hooks.store(runs);
    return true;
  }

  setTool(erasing) {
    this.edit.erasing = erasing;
    this.#show();
    this.viewer.draw();
  }

  resize(factor) {
    const { edit } = this;
    const step = factor > 1 ? Math.max(edit.radius * 0.2, 0.5) : -Math.max(edit.radius * 0.17, 0.5);
    this.setRadius(Math.round(2 * (edit.radius + step)) / 2);
  }

  setRadius(radius) {
    this.edit.radius = Math.min(Math.max(radius, 0.5), 60);
    remember("brush", String(this.edit.radius));
    this.#show();
    this.viewer.draw();
  }

  undo() {
    return this.#redone(this.ready && this.edit.undo(), "Stroke undone");
  }

  redo() {
    return this.#redone(this.ready && this.edit.redo(), "Stroke redone");
  }

  /** A stroke has ended. */
  stroked() {
    this.#show();
  }

  #redone(done, text) {
    if (done) announce(text);
    this.viewer.edited();
    this.#show();
    return true;
  }

  /** All slices along the first axis that the finding lies in. */
  async #seed(edit, finding, meta) {
    const [first, end] = meta.volume ? finding.box[0] : [0, 1];
    const slices = Array.from({ length: end - first }, (_, i) => first + i);
    const read = async () => {
      while (slices.length && this.edit === edit) {
        const slice = slices.shift();
        const labels = await this.pictures.labels({ index: meta.index, axis: 0, slice }, false);
        edit.seed(slice, labels.planes, finding.number);
      }
    };
    await Promise.all(Array.from({ length: TOGETHER }, read));
  }

  #showTools(on) {
    byId("decide").hidden = on;
    byId("edit-tools").hidden = !on;
    document.body.classList.toggle("editing", on);
    for (const input of document.querySelectorAll("input[name=mode]")) input.disabled = on;
    if (!on) return;
    const names = this.edit.classes.slice(1).map((name, i) => [String(i + 1), structureName(name)]);
    fillSelect(byId("edit-class"), names);
    byId("edit-class").value = String(this.edit.colour);
    this.#show();
  }

  #show() {
    const { edit, ready } = this;
    if (!edit) return;
    document.querySelector(`input[name=tool][value=${edit.erasing ? "eraser" : "brush"}]`).checked = true;
    byId("brush-size").value = String(edit.radius);
    setText(byId("brush-size-text"), String(edit.radius));
    byId("edit-undo").disabled = !ready || !edit.done.length;
    byId("edit-redo").disabled = !ready || !edit.undone.length;
    byId("edit-store").disabled = !ready;
  }

  #listen() {
    for (const input of document.querySelectorAll("input[name=tool]")) {
      input.addEventListener("change", () => this.setTool(input.value === "eraser"));
    }
    byId("edit-class").addEventListener("change", () => {
      this.edit.colour = Number(byId("edit-class").value);
      this.setTool(false);
    });
    byId("brush-size").addEventListener("input", () => this.setRadius(Number(byId("brush-size").value)));
    byId("edit-undo").addEventListener("click", () => this.undo());
    byId("edit-redo").addEventListener("click", () => this.redo());
    byId("edit-leave").addEventListener("click", () => this.leave());
    byId("edit-store").addEventListener("click", () => this.store());
  }
}
