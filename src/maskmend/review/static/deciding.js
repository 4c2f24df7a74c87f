/** What the reviewer says, on its way to the server and back; and what others say meanwhile. */

import { getProgress } from "./api.js";
import { askBulk, askComment } from "./dialogs.js";
import { announce, byId, setText } from "./dom.js";
import { Link } from "./link.js";
import { Outbox } from "./outbox.js";
import { number, sentence, verdictDone } from "./words.js";

const NEEDS_FINDING = ["accept", "reject", "unsure", "edit", "comment", "accept-case", "reject-case"];

export class Deciding {
  /** page: the App, which knows the finding, the queue and what comes next. */
  constructor(page) {
    this.page = page;
    this.reviewer = "";
    this.progress = null;
    this.outbox = new Outbox(page.run.name, {
      stored: (item, answer) => this.stored(item, answer),
      refused: (item, error) => this.refused(item, error),
      unreachable: (error) => page.failed(error),
      changed: () => this.showWaiting(),
    });
    this.link = new Link({
      changes: (decisions) => this.heard(decisions),
      heard: (last) => this.outbox.heard(last),
      back: () => this.reconnected(),
      waiting: () => this.outbox.waiting,
    });
  }

  get connected() {
    return !this.link.down && !this.outbox.blocked;
  }

  get possible() {
    return Boolean(this.page.finding && this.reviewer) && this.connected;
  }

  /** Decide on the finding that is looked at, and go on.  extra: further fields of the decision. */
  decide(verdict, extra = {}) {
    if (!this.possible) return this.#cannot();
    if (!this.page.isDrawn) return this.#notSeen();
    this.outbox.decide({ ...this.#about(this.page.finding), verdict, ...extra });
    this.page.goOn();
    return true;
  }

  decideCase(verdict) {
    if (!this.possible) return this.#cannot();
    if (!this.page.isDrawn) return this.#notSeen();
    this.outbox.decide({ ...this.#about(this.page.finding), finding: null, verdict });
    return true;
  }

  edit(runs) {
    // labels as they were given are a rejection, and stored as one
    if (runs.length) return this.decide("edit", { runs });
    this.page.toast("The edit changes nothing: reject the finding instead, or leave with Esc.");
    return true;
  }

  comment() {
    if (!this.possible) return this.#cannot();
    const about = this.#about(this.page.finding);
    askComment((comment) => this.outbox.decide({ ...about, verdict: "comment", comment }));
    return true;
  }

  undo() {
    if (!this.reviewer || !this.connected) return this.#cannot();
    this.outbox.undo(this.reviewer);
    return true;
  }

  bulk() {
    const { reviewer, progress, page } = this;
    if (!reviewer || !this.connected) return this.#cannot();
    askBulk({
      reviewer, hint: page.hint, precision: progress?.precision,
      done: (answer, verdict) => {
        page.toast(`${number(answer.count, 9)} findings ${verdictDone(verdict)}.`);
        this.#measured(answer.progress);
        page.refresh();
      },
      failed: (error) => page.failed(error),
    });
    return true;
  }

  async askProgress() {
    this.#measured(await getProgress(this.reviewer));
  }

  async stored({ body, undo }, answer) {
    const { page } = this;
    const findings = answer.findings ?? (answer.finding ? [answer.finding] : []);
    for (const finding of findings) page.learn(finding);
    if (answer.progress) this.#measured(answer.progress);
    const [first] = findings;
    if (undo) {
      announce(first ? `Taken back: ${sentence(first)}` : "There was nothing to take back.");
      if (first) await page.goTo(first);
      else page.toast("There is nothing of yours to take back.");
      return;
    }
    const what = body.finding ? sentence(first ?? page.finding) : `${findings.length} findings of the case`;
    if (!body.finding) await page.goOn();
    const next = page.finding && body.verdict !== "comment" ? ` Now: ${sentence(page.finding)}` : "";
    announce(`Stored, ${verdictDone(body.verdict)}: ${what}.${next}`);
  }

  async refused({ body }, error) {
    const { page } = this;
    const finding = body.finding && page.queue.find(body.finding);
    page.toast(`Not stored. ${error.message}`);
    if (!finding) return;
    page.queue.update({ ...finding, sent: false });
    await page.goTo(finding);
  }

  /** Decisions since the last question.  Two reviewers, or two windows, see each other so. */
  async heard(decisions) {
    const news = decisions.filter(({ number: its, case_index: index }) => !this.outbox.own.has(its) && index !== null);
    const others = news.filter(({ reviewer }) => reviewer !== this.reviewer);
    for (const { finding, state, case_index: index } of news) {
      if (finding && state) await this.page.learnState({ id: finding, state, case_index: index });
    }
    // one on a whole case, or one that was taken back, does not say which findings it is about
    const whole = news.filter(({ finding, state }) => !finding || !state);
    for (const index of new Set(whole.map((decision) => decision.case_index))) await this.page.reload(index);
    if (!others.length) return;
    const { reviewer, verdict } = others.at(-1);
    const more = others.length > 1 ? ` and ${others.length - 1} more` : "";
    setText(byId("seen"), `${reviewer}: ${verdictDone(verdict)}${more}`);
    await this.askProgress();
  }

  async reconnected() {
    await this.outbox.pump();
    this.enable();
    if (!this.connected) return;
    await this.page.recover();
    await this.askProgress();
  }

  showWaiting() {
    for (const { body } of this.outbox.items) if (body.finding) this.page.queue.sent(body.finding);
    document.body.dataset.waiting = String(this.outbox.waiting);
    this.link?.show();
    this.enable();
  }

  /** The buttons work only while there is a finding, and a server that hears of it. */
  enable() {
    const on = Boolean(this.page.finding) && (!this.link || this.connected);
    for (const id of NEEDS_FINDING) byId(id).disabled = !on;
  }

  #about(finding) {
    return { finding: finding.id, case: finding.case_index, reviewer: this.reviewer };
  }

  #measured(progress) {
    this.progress = progress;
    this.page.showProgress(progress);
  }

  #notSeen() {
    this.page.toast("Not decided: the picture is not there yet.");
    return true;
  }

  #cannot() {
    this.page.toast(this.reviewer ? "Not stored: there is no connection to the review server." : "Please say who is reviewing first.");
    return true;
  }
}
