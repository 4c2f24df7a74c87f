/** Slices of images and labels, at hand before they are asked for. */

import { getCase, getImage, getLabels } from "./api.js";
import { Cache } from "./cache.js";

const MEMORY = 384 * 2 ** 20; // bytes of pictures and labels kept
const AHEAD = 5; // findings whose pictures are fetched in advance
const LANES = 2; // fetched in advance at a time: the browser has six connections, and the user comes first

export class Pictures {
  constructor() {
    this.cache = new Cache(MEMORY);
    this.epochs = new Map(); // case -> decisions heard of, as its decided labels change with each
    this.wanted = [];
    this.busy = 0;
  }

  /** Shape, spacing, window and findings of a case. */
  case(index) {
    return this.cache.load(`case ${index} `, (signal) => getCase(index, signal), () => 4096);
  }

  /** What is known of a case already, or undefined. */
  knownCase(index) {
    return this.cache.peek(`case ${index} `);
  }

  /** A finding has another state: what is known of its case learns of it. */
  learn(finding) {
    const known = this.knownCase(finding.case_index);
    const place = known?.findings.findIndex(({ id }) => id === finding.id) ?? -1;
    if (place >= 0) known.findings[place] = { ...known.findings[place], ...finding };
    this.epochs.set(finding.case_index, (this.epochs.get(finding.case_index) ?? 0) + 1);
  }

  /** Everything about a case is asked for anew. */
  forget(index) {
    this.cache.forget(`case ${index} `);
    this.epochs.set(index, (this.epochs.get(index) ?? 0) + 1);
  }

  /** place: {index, axis, slice, channel}.  window: {low, high}. */
  image(place, window, priority) {
    const { index, axis, slice, channel } = place;
    const key = `image ${index} ${axis} ${slice} ${channel} ${window.low} ${window.high}`;
    const load = async (signal) => ({ bitmap: await getImage(place, window, signal, priority), window });
    return this.cache.load(key, load, ({ bitmap }) => bitmap.width * bitmap.height * 4);
  }

  /** As of readLabels.  decided: whether the decided labels have to be true. */
  labels(place, decided, priority) {
    const key = this.#labelsKey(place, decided);
    const size = ({ height, width, planes }) => height * width * planes.length * 7;
    return this.cache.load(key, (signal) => getLabels(place, decided, signal, priority), size);
  }

  /** Image and labels of one slice together. */
  async slice(place, window, decided, priority = "auto") {
    const [image, labels] = await Promise.all([this.image(place, window, priority), this.labels(place, decided, priority)]);
    return { ...image, labels };
  }

  /** How many pictures of so many bytes are fetched ahead: all of them must have room at once. */
  #reach(bytes) {
    return Math.min(AHEAD, Math.max(2, Math.floor((0.6 * MEMORY) / bytes)));
  }

  /**
   * Fetch ahead; what was asked for ahead before and is not in the list is stopped.
   * findings: the next ones.  around: further places of the case that is seen.  windowOf: meta ->
   * window.  now: place that is looked at, bytes: of its picture and labels.
   */
  ahead({ findings, around, windowOf, decided, now, bytes }) {
    const next = findings.slice(0, this.#reach(bytes));
    const jobs = next.map((finding) => () => this.#fetchFinding(finding, windowOf, decided));
    const near = around.map(({ place, window }) => () => this.slice(place, window, decided, "low"));
    this.wanted = [...jobs.slice(0, 2), ...near, ...jobs.slice(2)];
    const cases = new Set([now.index, ...next.map((finding) => finding.case_index)]);
    const keys = [...this.cache.entries.keys()];
    this.cache.abandon(new Set(keys.filter((key) => cases.has(Number(key.split(" ")[1])))));
    while (this.busy < LANES && this.wanted.length) this.#lane();
  }

  async #lane() {
    this.busy += 1;
    while (this.wanted.length) {
      try {
        await this.wanted.shift()();
      } catch {
        // a failure shows when the picture itself is asked for
      }
    }
    this.busy -= 1;
  }

  async #fetchFinding(finding, windowOf, decided) {
    const meta = await this.case(finding.case_index);
    const place = { index: finding.case_index, axis: 0, slice: finding.best_slice ?? 0, channel: 0 };
    return this.slice(place, windowOf(meta), decided, "low");
  }

  #labelsKey({ index, axis, slice }, decided) {
    return `labels ${index} ${axis} ${slice} ${decided ? `decided ${this.epochs.get(index) ?? 0}` : ""}`;
  }
}
