/** The review page: what is looked at, what is decided, what comes next. */

import { getCase, getFinding, getRun } from "./api.js";
import { showCase, showFinding, showLegend } from "./details.js";
import { setUpBulk, setUpHelp, setUpReviewer, showHelp } from "./dialogs.js";
import { byId, fillSelect, setText } from "./dom.js";
import { Deciding } from "./deciding.js";
import { Editing } from "./editing.js";
import { listen } from "./keys.js";
import { Looking } from "./looking.js";
import { Pictures } from "./pictures.js";
import { showProgress } from "./progress.js";
import { Queue } from "./queue.js";
import { Solid } from "./solid.js";
import { number, sentence, stateName, structureName, typeName } from "./words.js";
import { picturedAxes } from "./view.js";
import { Viewer } from "./viewer.js";

const AROUND = 2; // slices on either side that are fetched in advance
const CONTEXT = 0.8; // of a finding's box, shown around it on each side
const SLOW = 250; // ms after which it is said that something is loading
const SETTLE = 140; // ms after which a new window is asked of the server
const STATES = ["open", "accept", "reject", "unsure", "edit", "conflict"];

class App {
  constructor(run) {
    this.run = run;
    this.hidden = new Set();
    this.finding = null;
    this.meta = null;
    this.turn = 0; // grows with every finding shown: a late answer is then known to be late
    this.pictures = new Pictures();
    this.looking = new Looking({
      options: () => this.showOptions(),
      place: (refit) => this.scroll(refit),
      window: (settled) => this.rewindow(settled),
    });
    this.viewer = new Viewer(byId("canvas"), {
      colours: (plane) => this.coloursOf(plane),
      scroll: (steps) => this.looking.setSlice(this.looking.slice + steps),
      window: (window, settled) => this.meta && !this.meta.rgb && this.looking.setWindow(window, settled),
      stroked: () => this.editing.stroked(),
    });
    this.editing = new Editing(this.pictures, this.viewer, {
      begun: () => byId("canvas").focus({ preventScroll: true }),
      changed: () => this.showOptions(),
      ended: () => this.showOptions(),
      store: (runs) => this.deciding.edit(runs),
      failed: (error) => this.failed(error),
    });
    this.solid = new Solid(run, () => this.finding, () => this.meta);
    this.queue = new Queue(byId("list"), {
      selected: (finding) => this.show(finding),
      counted: (total) => setText(byId("count"), `${number(total, 9)} finding${total === 1 ? "" : "s"}`),
      failed: (error) => this.failed(error),
    });
    this.deciding = new Deciding(this);
  }

  // -- what is looked at

  /** A finding from the queue, or from the list of its case. */
  async show(finding) {
    const turn = ++this.turn;
    if (this.editing.active) this.editing.leave();
    this.solid.close();
    this.finding = finding;
    document.body.dataset.ready = "false";
    showFinding(finding, this.run.findings);
    this.deciding?.enable();
    if (!finding) {
      this.meta = null;
      showCase(null);
      this.viewer.show(null);
      document.body.dataset.finding = "";
      return;
    }
    // the picture of another finding must not stand beside these facts for long
    const slow = setTimeout(() => this.blank("Loading…"), SLOW);
    try {
      const meta = await this.pictures.case(finding.case_index);
      if (turn !== this.turn) return;
      this.meta = meta;
      this.looking.setFinding(meta, finding);
      showCase(meta, finding, (other) => this.goTo(other));
      await this.draw("finding");
      clearTimeout(slow);
      if (turn !== this.turn || !this.viewer.picture) return;
      this.fetchAhead();
      // the queue only counts the comments
      if (finding.comments > 0) await this.showSaid();
    } catch (error) {
      if (turn !== this.turn) return;
      this.blank(error.message);
      this.failed(error);
    } finally {
      clearTimeout(slow);
    }
  }

  /** No picture, and why. */
  blank(why) {
    this.viewer.show(null);
    this.viewer.paint();
    setText(byId("notice"), why);
    document.body.dataset.ready = "false";
  }

  /** Another slice.  While one is on its way no other is asked for; then the last one wanted. */
  async scroll(refit) {
    this.scrollOn = true;
    this.refit ||= refit;
    if (this.scrolling) return;
    this.scrolling = true;
    while (this.scrollOn) {
      this.scrollOn = false;
      const zoom = this.refit ? "whole" : null;
      this.refit = false;
      await this.draw(zoom);
    }
    this.scrolling = false;
    if (this.meta && this.viewer.picture) this.fetchAhead();
  }

  /** Image and labels of the slice that is looked at.  zoom: "finding", "whole" or null (as it is). */
  async draw(zoom) {
    const { looking, meta, finding } = this;
    if (!meta) return;
    const step = (this.drawing = Symbol("drawing"));
    const slow = setTimeout(() => this.drawing === step && setText(byId("notice"), "Loading…"), SLOW);
    try {
      const found = await this.pictures.slice(looking.place, looking.window, looking.mode === "decided");
      if (this.drawing !== step) return;
      setText(byId("notice"), "");
      this.viewer.view.setPlane(meta, looking.axis);
      this.viewer.show({
        ...found, ...looking.place, wanted: looking.window, shape: meta.shape, finding, box: this.boxHere(),
        range: { least: meta.window.min, most: meta.window.max },
      });
      if (zoom) this.zoom(zoom);
      this.viewer.paint();
      this.drawn(finding);
    } catch (error) {
      if (this.drawing !== step || error.name === "AbortError") return;
      this.blank(error.message);
      this.failed(error);
    } finally {
      clearTimeout(slow);
    }
  }

  drawn(finding) {
    const { looking, meta } = this;
    const { body } = document;
    body.dataset.ready = "true";
    body.dataset.finding = finding.id;
    body.dataset.slice = String(looking.slice);
    body.dataset.axis = String(looking.axis);
    performance.mark("finding-drawn", { detail: finding.id });
    const where = meta.volume ? `, slice ${looking.slice + 1} of ${looking.slices}` : "";
    byId("canvas").setAttribute("aria-label", `Picture of case ${finding.case}${where}: ${sentence(finding)}`);
  }

  /** The finding's rows and columns in the slice that is seen; nothing where it is not in it. */
  boxHere() {
    const { meta, finding, looking } = this;
    const [first, end] = finding.box[looking.axis];
    if (meta.volume && (looking.slice < first || looking.slice >= end)) return [];
    return picturedAxes(meta.shape.length, looking.axis).map((axis) => finding.box[axis]);
  }

  /** Whether the picture of the finding is seen. */
  get isDrawn() {
    return document.body.dataset.ready === "true";
  }

  fetchAhead() {
    const { looking, queue } = this;
    const around = [];
    for (let step = 1; this.meta.volume && step <= AROUND; step++) {
      for (const slice of [looking.slice + step, looking.slice - step]) {
        if (slice >= 0 && slice < looking.slices) around.push({ place: { ...looking.place, slice }, window: looking.window });
      }
    }
    const findings = queue.following(8).filter((item) => this.isMine(item));
    const decided = looking.mode === "decided";
    const { height, width, planes } = this.viewer.picture.labels;
    const bytes = height * width * (4 + 7 * planes.length);
    this.pictures.ahead({ findings, around, windowOf: (meta) => looking.windowOf(meta), decided, now: looking.place, bytes });
  }

  zoom(to) {
    const { view, picture } = this.viewer;
    if (!picture) return;
    const pane = this.viewer.panes()[0];
    const whole = [[0, picture.labels.height], [0, picture.labels.width]];
    view.fit(whole, pane, 0.01);
    const least = view.scale;
    if (to === "finding") {
      const { shape } = this.meta;
      view.fit(picturedAxes(shape.length, this.looking.axis).map((axis) => this.finding.box[axis]), pane, CONTEXT, 24);
      if (view.scale < least) view.fit(whole, pane, 0.01);
      view.clamp(picture.labels.height, picture.labels.width, pane);
    }
    this.viewer.draw();
  }

  zoomBy(factor) {
    const pane = this.viewer.panes()[0];
    this.viewer.view.zoom(factor, pane.x + pane.width / 2, pane.height / 2, pane);
    this.viewer.draw();
  }

  showOptions() {
    const { looking } = this;
    const wasDecided = this.viewer.options.mode === "decided";
    const sides = this.viewer.options.mode === "side";
    this.viewer.setOptions({ mode: looking.mode, style: looking.style, opacity: looking.opacity });
    const sidesNow = looking.mode === "side";
    if (!this.meta) return;
    // half the width, or the double: the picture is fitted anew
    if (sides !== sidesNow) this.zoom("finding");
    if (wasDecided !== (looking.mode === "decided")) this.draw(null);
  }

  rewindow(settled) {
    const { picture } = this.viewer;
    if (!picture) return;
    picture.wanted = this.looking.window;
    this.viewer.draw();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.draw(null), settled ? 0 : SETTLE);
  }

  coloursOf(plane) {
    const { classes } = this.run.planes[plane];
    return classes.map((name, value) => (value && !this.hidden.has(name) ? this.run.colours[name] : null));
  }

  // -- what comes next

  /** Whether a finding is still to be decided in this list. */
  isMine(item) {
    const { state } = this.queue.filter;
    return state ? item.state === state : !item.by?.some(({ reviewer }) => reviewer === this.deciding.reviewer);
  }

  /** The next finding that is still to be decided; at the end of the list, from its beginning. */
  async goOn() {
    const { queue } = this;
    for (let index = queue.index + 1; index < queue.total; index++) {
      const item = queue.items[index];
      if (!item || (this.isMine(item) && !item.sent)) return queue.select(index);
    }
    const { outbox } = this.deciding;
    await outbox.pump();
    if (outbox.waiting) return false;
    const left = this.finding;
    await this.refresh();
    if (!queue.total || queue.selected?.id === left?.id) this.toast("This was the last finding of this list.");
    return true;
  }

  async goTo(finding) {
    if (!(await this.queue.selectId(finding.id))) await this.show(finding);
  }

  // -- what the server says

  /** A finding has another state, whoever decided. */
  learn(finding) {
    const { comments, ...known } = finding;
    this.queue.update(Array.isArray(comments) ? known : finding);
    this.pictures.learn(finding);
    if (finding.case_index !== this.meta?.index) return;
    if (finding.id === this.finding?.id) {
      this.finding = { ...this.finding, ...known };
      if (finding.by) this.showSaid();
    }
    showCase(this.pictures.knownCase(finding.case_index) ?? this.meta, this.finding, (other) => this.goTo(other));
    if (this.looking.mode === "decided") this.draw(null);
  }

  /** Somebody has decided on a finding; who, is asked for if it is the one that is looked at. */
  async learnState(finding) {
    this.learn(finding);
    if (finding.id === this.finding?.id) await this.showSaid();
  }

  /** Who said what of the finding that is looked at, with the comments. */
  async showSaid() {
    const { id } = this.finding;
    showFinding(this.finding, this.run.findings);
    try {
      const whole = await getFinding(id);
      if (this.finding?.id === id) showFinding((this.finding = { ...this.finding, ...whole }), this.run.findings);
    } catch (error) {
      this.failed(error);
    }
  }

  /** Somebody has decided on a case: what is known of it is asked for anew. */
  async reload(index) {
    if (!this.pictures.knownCase(index) && !this.queue.ofCase(index).length) return;
    const { findings } = await getCase(index);
    for (const finding of findings) this.learn(finding);
  }

  /** The server is back: what could not be shown is tried again. */
  async recover() {
    setText(byId("notice"), "");
    if (this.finding && !this.isDrawn) await this.show(this.finding);
    else if (!this.finding) await this.refresh();
  }

  showProgress(progress) {
    this.hint = showProgress(progress);
  }

  failed(error) {
    if (error.name === "AbortError") return;
    if (!this.deciding.link.failed(error)) this.toast(error.message);
    this.deciding.enable();
  }

  toast(text) {
    const toast = byId("toast");
    toast.hidden = false;
    setText(toast, text);
    clearTimeout(this.toasting);
    this.toasting = setTimeout(() => (toast.hidden = true), 7000);
  }

  // -- beginning, filters, keys

  filter() {
    const value = (name) => byId(`filter-${name}`).value.trim();
    return { type: value("type"), structure: value("structure"), state: value("state"), q: value("q") };
  }

  refresh(keep = null) {
    return this.queue.open(this.filter(), keep).catch((error) => this.failed(error));
  }

  setUp() {
    const { run } = this;
    setText(byId("run-name"), run.name);
    document.title = `${run.name}: maskmend review`;
    fillSelect(byId("filter-type"), [["", "all"], ...run.types.map((type) => [type, typeName(type)])]);
    fillSelect(byId("filter-structure"), [["", "all"], ...run.structures.map((name) => [name, structureName(name)])]);
    fillSelect(byId("filter-state"), [...STATES.map((state) => [state, stateName(state)]), ["", "all"]]);
    for (const name of ["type", "structure", "state"]) byId(`filter-${name}`).addEventListener("change", () => this.refresh());
    byId("filter-q").addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.refresh(), 200);
    });
    byId("filter-q").addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") byId("list").focus();
    });
    showLegend(run, this.hidden, () => this.viewer.recolour());
    setUpBulk(run);
    setUpHelp();
    setUpReviewer(run.reviewer, (name) => {
      this.deciding.reviewer = name;
      setText(byId("reviewer"), `Reviewer: ${name}`);
    });
    this.#listen();
  }

  #listen() {
    const acts = this.#actions();
    const buttons = {
      accept: "accept", reject: "reject", unsure: "unsure", edit: "edit", comment: "comment", undo: "undo", next: "next",
      previous: "previous", "accept-case": "acceptCase", "reject-case": "rejectCase", "zoom-finding": "zoomFinding",
      "zoom-whole": "zoomWhole", "zoom-in": "zoomIn", "zoom-out": "zoomOut", view3d: "view3d",
    };
    for (const [id, action] of Object.entries(buttons)) byId(id).addEventListener("click", () => acts[action]());
    byId("refresh").addEventListener("click", () => this.refresh(this.finding?.id));
    byId("bulk").addEventListener("click", () => this.deciding.bulk());
    listen((action) => acts[action](), () => ({ editing: this.editing.active, single: byId("single-keys").checked }));
    window.addEventListener("beforeunload", (event) => {
      if (this.deciding.outbox.waiting || (this.editing.active && this.editing.edit.done.length)) event.preventDefault();
    });
  }

  #actions() {
    const { looking, queue, editing, deciding } = this;
    return {
      accept: () => deciding.decide("accept"), reject: () => deciding.decide("reject"), unsure: () => deciding.decide("unsure"),
      edit: () => void (this.meta && editing.begin(this.finding, this.meta, this.run)),
      comment: () => deciding.comment(), undo: () => deciding.undo(),
      acceptCase: () => deciding.decideCase("accept"), rejectCase: () => deciding.decideCase("reject"),
      next: () => void queue.move(1), previous: () => void queue.move(-1), search: () => byId("filter-q").focus(),
      sliceDown: () => looking.setSlice(looking.slice + 1), sliceUp: () => looking.setSlice(looking.slice - 1),
      bestSlice: () => looking.setSlice(looking.bestSlice()),
      axis0: () => looking.setAxis(0), axis1: () => looking.setAxis(1), axis2: () => looking.setAxis(2),
      toggle: () => looking.toggle(), side: () => looking.setMode("side"), difference: () => looking.setMode("difference"),
      decided: () => looking.setMode("decided"), style: () => looking.switchStyle(),
      labels: () => this.viewer.setOptions({ labels: !this.viewer.options.labels }),
      mark: () => this.viewer.setOptions({ mark: !this.viewer.options.mark }),
      zoomFinding: () => this.zoom("finding"), zoomWhole: () => this.zoom("whole"),
      zoomIn: () => this.zoomBy(1.25), zoomOut: () => this.zoomBy(0.8), windowAuto: () => this.meta && looking.setPreset("auto"),
      view3d: () => this.solid.toggle(), help: () => showHelp(),
      editStore: () => editing.store(), editLeave: () => editing.leave(), editTool: () => editing.setTool(!editing.edit.erasing),
      editSmaller: () => editing.resize(0.8), editLarger: () => editing.resize(1.25),
      editUndo: () => editing.undo(), editRedo: () => editing.redo(),
    };
  }
}

async function begin() {
  try {
    const app = new App(await getRun());
    app.setUp();
    const progress = app.deciding.askProgress().catch((error) => app.failed(error));
    await app.refresh();
    await progress;
    await app.deciding.outbox.resume();
  } catch (error) {
    setText(byId("banner"), `The review could not be opened. ${error.message}`);
    throw error;
  }
}

begin();
