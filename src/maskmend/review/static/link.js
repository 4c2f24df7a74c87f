/** Whether the server is there, and what others have decided meanwhile. */

import { getChanges, Refused, Unreachable } from "./api.js";
import { byId, setText } from "./dom.js";

const EVERY = 2000; // ms between two questions
const NEWEST = Number.MAX_SAFE_INTEGER; // after this there is nothing: the answer is where we begin

export class Link {
  /** hooks: {changes(decisions), heard(number), back(), waiting() -> number of decisions unsent}. */
  constructor(hooks) {
    this.hooks = hooks;
    this.last = null;
    this.trouble = null; // "silent", "session" or null
    this.poll();
  }

  /** Deciding makes no sense while nobody listens. */
  get down() {
    return this.trouble !== null;
  }

  /** Something could not be fetched or sent.  Returns whether it was the connection's fault. */
  failed(error) {
    const session = error instanceof Refused && (error.status === 401 || error.status === 403);
    if (!session && !(error instanceof Unreachable)) return false;
    this.#set(session ? "session" : "silent");
    return true;
  }

  async poll() {
    try {
      await this.#ask();
      if (this.down) {
        this.#set(null);
        await this.hooks.back();
      }
    } catch (error) {
      if (!this.failed(error)) console.warn(error.message);
    }
    setTimeout(() => this.poll(), this.down ? EVERY / 2 : EVERY);
  }

  async #ask() {
    const { last, decisions } = await getChanges(this.last ?? NEWEST);
    const first = this.last === null;
    this.last = last;
    this.hooks.heard(last);
    if (!first && decisions.length) await this.hooks.changes(decisions);
  }

  #set(trouble) {
    this.trouble = trouble;
    this.show();
  }

  /** The banner; it says how many decisions are kept. */
  show() {
    const waiting = this.hooks.waiting();
    const kept = waiting ? ` ${waiting} decision${waiting === 1 ? " is" : "s are"} not stored yet, and will be sent again.` : "";
    const texts = {
      silent: `No connection to the review server: nothing can be decided now.${kept}`,
      session: `This session has ended. Open the address that “maskmend review” printed.${kept}`,
    };
    setText(byId("banner"), this.trouble ? texts[this.trouble] : "");
    document.body.dataset.connection = this.trouble ?? "up";
  }
}
