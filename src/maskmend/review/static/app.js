/** The review page: what is looked at, what is decided, what comes next. */

import { getFinding, getProgress, getRun } from "./api.js";
import { showCase, showFinding, showLegend } from "./details.js";
import { askBulk, askComment, setUpBulk, setUpHelp, setUpReviewer, showHelp } from "./dialogs.js";
import { announce, byId, fillSelect, setText } from "./dom.js";
import { Editing } from "./editing.js";
import { listen } from "./keys.js";
import { Link } from "./link.js";
import { Looking } from "./looking.js";
import { Outbox } from "./outbox.js";
import { Pictures } from "./pictures.js";
import { showProgress } from "./progress.js";
import { Queue } from "./queue.js";
import { Solid } from "./solid.js";
import { number, sentence, stateName, structureName, typeName, verdictDone } from "./words.js";
import { Viewer } from "./viewer.js";

const AROUND = 2; // slices on either side that are fetched in advance
const CONTEXT = 0.8; // of a finding's box, shown around it on each side
const SETTLE = 140; // ms after which a new window is asked of the server
const STATES = ["open", "accept", "reject", "unsure", "edit", "conflict"];

class App {
  constructor(run) {
    this.run = run;
    this.reviewer = "";
    this.hidden = new Set();
    this.finding = null;
    this.meta = null;
    this.turn = 0; // grows with every finding shown: a late answer is then known to be late
    this.pictures = new Pictures();
    this.looking = new Looking({
      options: () => this.showOptions(),
      place: (refit) => this.draw(refit ? "whole" : null),
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
      store: (runs) => this.storeEdit(runs),
      failed: (error) => this.failed(error),
    });
    this.solid = new Solid(run, () => this.finding, () => this.meta);
    this.queue = new Queue(byId("list"), {
      selected: (finding) => this.show(finding),
      counted: (total) => setText(byId("count"), `${number(total, 9)} finding${total === 1 ? "" : "s"}`),
      failed: (error) => this.failed(error),
    });
    this.outbox = new Outbox(run.name, {
      stored: (item, answer) => this.stored(item, answer),
      refused: (item, error) => this.refused(item, error),
      unreachable: (error) => this.link.failed(error) || this.toast(error.message),
      changed: () => this.showWaiting(),
    });
    this.link = new Link({
      changes: (decisions) => this.heard(decisions),
      heard: (last) => this.outbox.heard(last),
      back: () => this.reconnected(),
      waiting: () => this.outbox.waiting,
    });
  }

  // -- what is looked at

  /** A finding from the queue, or from the list of its case. */
  async show(finding) {
    const turn = ++this.turn;
    if (this.editing.active) this.editing.leave();
    this.solid.close();
    this.finding = finding;
    showFinding(finding, this.run.findings);
    this.enable();
    if (!finding) {
      this.meta = null;
      showCase(null);
      this.viewer.show(null);
      document.body.dataset.finding = "";
      return;
    }
    try {
      const meta = await this.pictures.case(finding.case_index);
      if (turn !== this.turn) return;
      this.meta = meta;
      this.looking.setFinding(meta, finding);
      showCase(meta, finding, (other) => this.goTo(other));
      await this.draw("finding");
      if (turn === this.turn) this.fetchAhead();
    } catch (error) {
      if (turn === this.turn) this.failed(error);
    }
  }

  /** Image and labels of the slice that is looked at.  zoom: "finding", "whole" or null (as it is). */
  async draw(zoom) {
    const { looking, meta, finding } = this;
    if (!meta) return;
    const step = (this.drawing = Symbol("drawing"));
    const slow = setTimeout(() => this.drawing === step && setText(byId("notice"), "Loading…"), 250);
    try {
      const found = await this.pictures.slice(looking.place, looking.window, looking.mode === "decided");
      if (this.drawing !== step) return;
      setText(byId("notice"), "");
      this.viewer.view.setPlane(meta, looking.axis);
      this.viewer.show({
        ...found, ...looking.place, wanted: looking.window, shape: meta.shape, finding,
        range: { least: meta.window.min, most: meta.window.max },
      });
      if (zoom) this.zoom(zoom);
      this.viewer.paint();
      this.drawn(finding);
    } catch (error) {
      if (this.drawing === step && error.name !== "AbortError") this.failed(error);
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
    this.pictures.ahead({ findings, around, windowOf: (meta) => looking.windowOf(meta), decided, now: looking.place });
  }

  zoom(to) {
    const { view, picture } = this.viewer;
    if (!picture) return;
    const pane = this.viewer.panes()[0];
    const whole = [[0, picture.labels.height], [0, picture.labels.width]];
    view.fit(whole, pane, 0.01);
    const least = view.scale;
    if (to === "finding") {
      const axes = this.meta.volume ? [0, 1, 2].filter((axis) => axis !== this.looking.axis) : [0, 1];
      view.fit(axes.map((axis) => this.finding.box[axis]), pane, CONTEXT, 24);
      if (view.scale < least) view.fit(whole, pane, 0.01);
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

  // -- what is decided

  get canDecide() {
    return Boolean(this.finding && this.reviewer) && !this.link.down && !this.outbox.blocked;
  }

  decide(verdict, extra = {}) {
    if (!this.canDecide) return this.cannot();
    const { finding } = this;
    const body = { finding: finding.id, case: finding.case_index, verdict, reviewer: this.reviewer, ...extra };
    this.outbox.decide(body);
    if (verdict !== "comment") this.goOn();
    return true;
  }

  decideCase(verdict) {
    if (!this.canDecide) return this.cannot();
    this.outbox.decide({ finding: null, case: this.finding.case_index, verdict, reviewer: this.reviewer });
    return true;
  }

  storeEdit(runs) {
    if (!this.canDecide) return this.cannot();
    // labels as they were given are a rejection, and stored as one
    if (runs.length) this.decide("edit", { runs });
    else this.toast("The edit changes nothing: reject the finding instead, or leave with Esc.");
    return true;
  }

  comment() {
    if (!this.canDecide) return this.cannot();
    const { finding } = this;
    askComment((text) => this.outbox.decide({
      finding: finding.id, case: finding.case_index, verdict: "comment", reviewer: this.reviewer, comment: text,
    }));
    return true;
  }

  undo() {
    if (!this.reviewer || this.link.down || this.outbox.blocked) return this.cannot();
    this.outbox.undo(this.reviewer);
    return true;
  }

  bulk() {
    const { reviewer, hint } = this;
    if (!reviewer || this.link.down) return this.cannot();
    askBulk({
      reviewer, hint, precision: this.progress?.precision,
      done: ({ count, progress }, verdict) => {
        this.toast(`${number(count, 9)} findings ${verdictDone(verdict)}.`);
        if (progress) this.showProgress(progress);
        this.refresh();
      },
      failed: (error) => this.failed(error),
    });
    return true;
  }

  cannot() {
    this.toast(this.reviewer ? "Not stored: there is no connection to the review server." : "Please say who is reviewing first.");
    return true;
  }

  /** Whether a finding is still to be decided in this list. */
  isMine(item) {
    const { state } = this.queue.filter;
    return state ? item.state === state : !item.by?.some(({ reviewer }) => reviewer === this.reviewer);
  }

  /** The next finding that is still to be decided; at the end of the list, from its beginning. */
  async goOn() {
    const { queue } = this;
    for (let index = queue.index + 1; index < queue.total; index++) {
      const item = queue.items[index];
      if (!item || (this.isMine(item) && !item.sent)) return queue.select(index);
    }
    await this.outbox.pump();
    if (this.outbox.waiting) return false;
    const left = this.finding;
    await this.refresh();
    if (!queue.total || queue.selected?.id === left?.id) this.toast("This was the last finding of this list.");
    return true;
  }

  async goTo(finding) {
    if (!(await this.queue.selectId(finding.id))) await this.show(finding);
  }

  // -- what the server says

  async stored({ body, undo }, answer) {
    const findings = answer.findings ?? (answer.finding ? [answer.finding] : []);
    for (const finding of findings) this.learn(finding);
    if (!findings.length && body.case !== undefined) this.pictures.forget(body.case);
    if (answer.progress) this.showProgress(answer.progress);
    const [first] = findings;
    if (undo) {
      if (first) await this.goTo(first);
      announce(first ? `Taken back: ${sentence(first)}` : "There was nothing to take back.");
      if (!first) this.toast("There is nothing of yours to take back.");
    } else {
      const what = body.finding ? (first ? sentence(first) : "finding") : `${findings.length} findings of the case`;
      announce(`Stored, ${verdictDone(body.verdict)}: ${what}.${this.finding && body.verdict !== "comment" ? ` Now: ${sentence(this.finding)}` : ""}`);
      if (!body.finding) this.goOn();
    }
  }

  async refused(item, error) {
    const finding = item.body.finding && this.queue.find(item.body.finding);
    this.toast(`Not stored. ${error.message}`);
    if (finding) await this.goTo(finding);
  }

  /** A finding has another state, whoever decided. */
  learn(finding) {
    const { comments, ...known } = finding;
    this.queue.update(Array.isArray(comments) ? known : finding);
    this.pictures.learn(finding);
    if (finding.case_index !== this.meta?.index) return;
    if (finding.id === this.finding?.id) {
      this.finding = { ...this.finding, ...known };
      this.showSaid();
    }
    showCase(this.pictures.knownCase(finding.case_index) ?? this.meta, this.finding, (other) => this.goTo(other));
    if (this.looking.mode === "decided") this.draw(null);
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

  /** Decisions since the last poll, our own among them. */
  async heard(decisions) {
    const cases = new Set(decisions.map((decision) => decision.case_index));
    for (const index of cases) {
      const known = this.pictures.knownCase(index);
      if (!known && !this.queue.ofCase(index).length) continue;
      this.pictures.forget(index);
      const meta = await this.pictures.case(index);
      for (const finding of meta.findings) this.learn(finding);
      if (this.meta?.index === index) this.meta = meta;
    }
    const others = decisions.filter(({ reviewer }) => reviewer !== this.reviewer);
    if (others.length) {
      const { reviewer, verdict } = others.at(-1);
      const more = others.length > 1 ? ` and ${others.length - 1} more` : "";
      setText(byId("seen"), `${reviewer}: ${verdictDone(verdict)}${more}`);
      this.showProgress(await getProgress(this.reviewer));
    }
  }

  async reconnected() {
    await this.outbox.pump();
    this.enable();
    if (this.finding && document.body.dataset.finding !== this.finding.id) this.show(this.finding);
    else if (!this.queue.total) this.refresh();
    this.showProgress(await getProgress(this.reviewer));
  }

  showProgress(progress) {
    this.progress = progress;
    this.hint = showProgress(progress);
  }

  failed(error) {
    if (error.name === "AbortError") return;
    if (!this.link.failed(error)) {
      this.toast(error.message);
      setText(byId("notice"), error.message);
    }
    this.enable();
  }

  toast(text) {
    const toast = byId("toast");
    toast.hidden = false;
    setText(toast, text);
    clearTimeout(this.toasting);
    this.toasting = setTimeout(() => (toast.hidden = true), 7000);
  }

  showWaiting() {
    for (const { body } of this.outbox.items) if (body.finding) this.queue.sent(body.finding);
    document.body.dataset.waiting = String(this.outbox.waiting);
    this.link?.show();
    this.enable();
  }

  /** Decisions are possible only while there is a finding, and a server that hears them. */
  enable() {
    const on = Boolean(this.finding) && !this.link?.down && !this.outbox?.blocked;
    for (const id of ["accept", "reject", "unsure", "edit", "comment", "accept-case", "reject-case"]) byId(id).disabled = !on;
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
    setUpReviewer((name) => {
      this.reviewer = name;
      setText(byId("reviewer"), `Reviewer: ${name}`);
      this.enable();
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
    byId("bulk").addEventListener("click", () => this.bulk());
    listen((action) => acts[action](), () => ({ editing: this.editing.active, single: byId("single-keys").checked }));
    window.addEventListener("beforeunload", (event) => {
      if (this.outbox.waiting || (this.editing.active && this.editing.edit.done.length)) event.preventDefault();
    });
  }

  #actions() {
    const { looking, queue, editing } = this;
    const beginEdit = () => (this.canDecide && this.meta ? void editing.begin(this.finding, this.meta, this.run) : this.cannot());
    return {
      accept: () => this.decide("accept"), reject: () => this.decide("reject"), unsure: () => this.decide("unsure"),
      edit: beginEdit, comment: () => this.comment(), undo: () => this.undo(),
      acceptCase: () => this.decideCase("accept"), rejectCase: () => this.decideCase("reject"),
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
    const progress = getProgress(app.reviewer).then((found) => app.showProgress(found));
    await app.refresh();
    await progress;
    await app.outbox.resume();
  } catch (error) {
    setText(byId("banner"), `The review could not be opened. ${error.message}`);
    throw error;
  }
}

begin();
