/**
 * Decisions on their way to the server, one after the other.  None is called stored before the
 * server said so; one whose answer was lost is looked for before it is sent a second time.
 */

import { getChanges, getFinding, postDecision, postUndo, Unreachable } from "./api.js";
import { recall, remember } from "./dom.js";

export class Outbox {
  /**
   * run: name of the run, under which unsent decisions outlive the page.  hooks: {stored(item,
   * answer), refused(item, error), unreachable(error), changed()}.
   */
  constructor(run, hooks) {
    this.key = `outbox.${run}`;
    this.hooks = hooks;
    this.items = []; // {body, undo, after, tried}
    this.sending = false;
    this.blocked = false;
    this.last = 0; // number of the newest decision heard of
    this.own = new Set(); // numbers of decisions whose answers came: nothing more is to be learnt of them
  }

  get waiting() {
    return this.items.length;
  }

  /** What an earlier page could not send.  Whole-case decisions are not taken up again. */
  resume() {
    try {
      this.items = JSON.parse(recall(this.key) ?? "[]").map((item) => ({ ...item, tried: true }));
    } catch {
      this.items = [];
    }
    return this.pump();
  }

  decide(body) {
    return this.#add({ body, undo: false });
  }

  undo(reviewer) {
    return this.#add({ body: { reviewer }, undo: true });
  }

  /** The newest decision that the server has told of. */
  heard(number) {
    this.last = Math.max(this.last, number ?? 0);
  }

  async pump() {
    if (this.sending) return;
    this.sending = true;
    try {
      while (this.items.length) await this.#send(this.items[0]);
      this.blocked = false;
    } catch (error) {
      this.blocked = true;
      this.hooks.unreachable(error);
    } finally {
      this.sending = false;
      this.hooks.changed();
    }
  }

  #add(item) {
    this.items.push({ ...item, after: this.last, tried: false });
    this.#save();
    this.hooks.changed();
    return this.pump();
  }

  /** One item until it is stored or refused; Unreachable is for the caller, and it stays first. */
  async #send(item) {
    let answer = null;
    try {
      answer = (item.tried && (await this.#arrived(item))) || null;
      item.tried = true;
      answer ??= await (item.undo ? postUndo(item.body) : postDecision(item.body));
    } catch (error) {
      // without a session nothing is decided: the item waits for the next one
      if (error instanceof Unreachable || error.status === 401 || error.status === 403) throw error;
      this.#shift();
      this.hooks.refused(item, error);
      return;
    }
    this.heard(answer.decision);
    this.own.add(answer.decision);
    this.#shift();
    this.hooks.stored(item, answer);
  }

  /** The answer that was lost, where the server has the decision after all. */
  async #arrived({ body, undo, after }) {
    const verdict = undo ? "undo" : body.verdict;
    const { decisions } = await getChanges(after);
    const found = decisions.find(
      (decision) =>
        decision.reviewer === body.reviewer && decision.verdict === verdict &&
        (undo || (decision.finding ?? null) === (body.finding ?? null)),
    );
    if (!found) return null;
    return { decision: found.number, ...(found.finding ? { finding: await getFinding(found.finding) } : {}) };
  }

  #shift() {
    this.items.shift();
    this.#save();
  }

  #save() {
    const kept = this.items.filter(({ body, undo }) => !undo && body.finding);
    remember(this.key, kept.length ? JSON.stringify(kept) : null);
  }
}
