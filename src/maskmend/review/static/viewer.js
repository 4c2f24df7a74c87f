/** The picture: draws image and labels on one canvas, and hears the mouse, the wheel and the pen. */

import { differenceImage, fillImage, maskOf, rewindowed } from "./compose.js";
import { outline, pathOf } from "./outline.js";
import { View } from "./view.js";

const PAD = 6; // CSS pixels between the panes
const TITLES = { given: "Given", suggested: "Suggested", decided: "As decided", edited: "Your edit", difference: "Difference" };
const PANES = {
  given: ["given"], suggested: ["suggested"], side: ["given", "suggested"], difference: ["difference"], decided: ["decided"],
};

export class Viewer {
  /**
   * canvas: the element.  hooks: {scroll(steps), window({low, high}, settled), drawn(), colours(plane) ->
   * class -> "#rrggbb" | null}.
   */
  constructor(canvas, hooks) {
    this.canvas = canvas;
    this.hooks = hooks;
    this.context = canvas.getContext("2d", { alpha: false });
    this.view = new View();
    this.picture = null;
    this.options = { mode: "difference", style: "outline", opacity: 0.5, labels: true, mark: true };
    this.edit = null;
    this.pointer = null; // [x, y] in CSS pixels, of the brush's ring
    this.layers = new Map();
    this.pending = 0;
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.#listen();
  }

  /**
   * picture: {bitmap, window, wanted, range, labels, axis, slice, shape, finding, box} or null; labels as of
   * readLabels; window: {low, high} of the bitmap, wanted: that to be seen, range: {least, most} of all values;
   * box: of the finding, [rows, columns], or [] in a slice that it is not in.
   */
  show(picture) {
    const old = this.picture;
    this.picture = picture;
    if (!picture || old?.labels !== picture.labels || old?.finding?.number !== picture.finding?.number) this.layers.clear();
    if (!picture || old?.bitmap !== picture.bitmap) this.layers.delete("image");
    this.draw();
  }

  setOptions(options) {
    Object.assign(this.options, options);
    this.draw();
  }

  /** Colours or what is shown have changed. */
  recolour() {
    this.layers.clear();
    this.draw();
  }

  /** The labels of the edit have changed. */
  edited() {
    for (const key of [...this.layers.keys()]) if (key.endsWith("edited")) this.layers.delete(key);
    this.draw();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(clientHeight * ratio));
    if (this.picture) this.paint();
    this.hooks.resized?.();
  }

  panes() {
    const kinds = this.edit ? ["edited"] : PANES[this.options.mode];
    const width = (this.canvas.clientWidth - PAD * (kinds.length - 1)) / kinds.length;
    return kinds.map((kind, i) => ({ kind, x: i * (width + PAD), y: 0, width, height: this.canvas.clientHeight }));
  }

  paneAt(x) {
    const panes = this.panes();
    return panes.findLast((pane) => x >= pane.x) ?? panes[0];
  }

  /** Draw with the next frame, however often it was asked for. */
  draw() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.paint();
    });
  }

  /** Draw now. */
  paint() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#0c0e11";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.picture) return;
    const panes = this.panes();
    for (const pane of panes) this.#paintPane(pane);
    // where pixels lie on the screen, for whoever drives the page from outside: x = a column + e, y = d row + f
    const [a, , , d, e, f] = this.view.matrix(panes[0], 1);
    canvas.dataset.view = [a, d, e, f].join(" ");
    this.hooks.drawn?.();
  }

  #paintPane(pane) {
    const { context, picture, options } = this;
    const ratio = this.canvas.width / Math.max(this.canvas.clientWidth, 1);
    context.save();
    context.beginPath();
    context.rect(pane.x * ratio, 0, pane.width * ratio, this.canvas.height);
    context.clip();
    context.setTransform(...this.view.matrix(pane, ratio));
    // single pixels are to be seen as such; many to a screen pixel are averaged
    context.imageSmoothingEnabled = this.view.scale * ratio < 1;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#image(), 0, 0);
    if (options.labels || this.edit) this.#paintLabels(pane.kind, ratio);
    if (options.mark && picture.finding) this.#paintMark(pane, ratio);
    if (this.edit && this.pointer) this.#paintRing(pane, ratio);
    context.restore();
    this.#paintTexts(pane, ratio);
  }

  #paintLabels(kind, ratio) {
    const { context, options } = this;
    context.save();
    context.imageSmoothingEnabled = false;
    if (kind === "difference") {
      context.globalAlpha = options.opacity;
      const found = this.#layer("difference", () => this.#difference());
      if (found) context.drawImage(found.canvas, found.left, found.top);
      context.globalAlpha = 1;
      this.#strokeOutlines("given", ratio, 1.25);
    } else if (options.style === "fill") {
      context.globalAlpha = options.opacity;
      context.drawImage(this.#layer(`fill ${kind}`, () => this.#fill(kind)), 0, 0);
    } else {
      context.globalAlpha = Math.min(1, 0.35 + options.opacity);
      this.#strokeOutlines(kind, ratio, 1.75);
    }
    if (kind === "edited") {
      context.globalAlpha = 0.8;
      this.#strokeOutlines("given", ratio, 0.75);
    }
    context.restore();
  }

  #strokeOutlines(kind, ratio, width) {
    const { context } = this;
    for (const { path, colour } of this.#layer(`outlines ${kind}`, () => this.#outlines(kind))) {
      this.#stroke(path, colour, width, ratio);
    }
    context.setLineDash([]);
  }

  /** Stroke a path of the picture with a line that is as wide anywhere, in CSS pixels. */
  #stroke(path, colour, width, ratio) {
    const { context } = this;
    const matrix = context.getTransform();
    const drawn = new Path2D();
    drawn.addPath(path, matrix);
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.lineCap = "square";
    context.lineJoin = "round";
    context.lineWidth = width * ratio;
    context.strokeStyle = colour;
    context.stroke(drawn);
    context.restore();
  }

  /** Where the finding is, white on black: to be seen on any picture and any colour. */
  #paintMark(pane, ratio) {
    if (pane.kind === "edited") return;
    if (pane.kind !== "difference") {
      this.#paintCorners(pane, ratio);
      return;
    }
    const path = this.#layer("mark", () => {
      const { labels, finding, box } = this.picture;
      if (!box.length) return new Path2D();
      const [[top, bottom], [left, right]] = box;
      const mask = maskOf(labels.planes[finding.plane].numbers, labels.width, finding.number, box);
      return pathOf(outline(mask, bottom - top, right - left).get(1) ?? [], left, top);
    });
    // a rim of few pixels must not disappear below its own outline
    const width = Math.min(Math.max(this.view.scale * 0.3, 0.75), 1.5);
    this.#stroke(path, "rgb(0 0 0 / 75%)", 2.3 * width, ratio);
    this.#stroke(path, "#ffffff", width, ratio);
  }

  /** The corners of the finding's box: an outline of it would hide the structure's own. */
  #paintCorners(pane, ratio) {
    const { context, view, picture } = this;
    const [rows, columns] = picture.box;
    if (!rows) return;
    const [x0, y0] = view.toPane(rows[0], columns[0], pane);
    const [x1, y1] = view.toPane(rows[1], columns[1], pane);
    const [left, right, top, bottom] = [Math.min(x0, x1) - 6, Math.max(x0, x1) + 6, Math.min(y0, y1) - 6, Math.max(y0, y1) + 6];
    const arm = Math.max(5, Math.min(14, (right - left) / 4, (bottom - top) / 4));
    const path = new Path2D();
    for (const [x, dx] of [[left, arm], [right, -arm]]) {
      for (const [y, dy] of [[top, arm], [bottom, -arm]]) {
        path.moveTo(x + dx, y);
        path.lineTo(x, y);
        path.lineTo(x, y + dy);
      }
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#stroke(path, "rgb(0 0 0 / 75%)", 4, ratio);
    this.#stroke(path, "#ffffff", 2, ratio);
  }

  #paintRing(pane, ratio) {
    const { context, edit, view } = this;
    const [x, y] = this.pointer;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const [colour, width] of [["#000000", 3], ["#ffffff", 1.2]]) {
      context.beginPath();
      context.arc(x, y, Math.max(edit.radius * view.scale, 2), 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.setLineDash(edit.erasing ? [4, 4] : []);
      context.stroke();
    }
    context.setLineDash([]);
  }

  #paintTexts(pane, ratio) {
    const { context, view } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "top";
    context.lineJoin = "round";
    const write = (text, x, y, align) => {
      context.textAlign = align;
      context.lineWidth = 3;
      context.strokeStyle = "rgb(0 0 0 / 80%)";
      context.strokeText(text, x, y);
      context.fillStyle = "#e8eaed";
      context.fillText(text, x, y);
    };
    write(TITLES[pane.kind], pane.x + 8, 8, "left");
    if (!view.letters) return;
    const { top, bottom, left, right } = view.letters;
    const middle = pane.x + pane.width / 2;
    write(top, middle, 8, "center");
    write(bottom, middle, pane.height - 20, "center");
    write(left, pane.x + 8, pane.height / 2 - 6, "left");
    write(right, pane.x + pane.width - 8, pane.height / 2 - 6, "right");
  }

  #layer(key, make) {
    if (!this.layers.has(key)) this.layers.set(key, make());
    return this.layers.get(key);
  }

  /** The picture in the wanted window: the server's, or until that is here an approximation. */
  #image() {
    const { bitmap, window: own, wanted } = this.picture;
    if (!wanted || (wanted.low === own.low && wanted.high === own.high)) return bitmap;
    const pixels = this.#layer("image", () => {
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(bitmap, 0, 0);
      return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
    });
    return canvasOf(rewindowed(pixels, own, wanted, bitmap.height, bitmap.width));
  }

  #labels(kind) {
    const { labels, axis, slice } = this.picture;
    if (kind !== "edited") return labels.planes.map((plane) => plane[kind]);
    return labels.planes.map(({ given }, plane) =>
      plane === this.edit?.plane ? this.edit.applied(given, axis, slice) : given,
    );
  }

  #outlines(kind) {
    const drawn = this.#labels(kind).map((labels, plane) => {
      const colours = this.hooks.colours(plane);
      const paths = kind === "edited" ? pathsOf(labels, this.picture.labels) : this.#keptPaths(kind, plane);
      return [...paths].filter(([value]) => colours[value]).map(([value, path]) => ({ path, colour: colours[value] }));
    });
    // the plane of the finding lies on top
    const own = this.picture.finding?.plane ?? 0;
    return [...drawn.toSpliced(own, 1), drawn[own]].flat();
  }

  /** Outlines of labels that stay as they are: kept as long as these. */
  #keptPaths(kind, plane) {
    const { labels } = this.picture;
    labels.paths ??= new Map();
    const key = `${kind} ${plane}`;
    if (!labels.paths.has(key)) labels.paths.set(key, pathsOf(labels.planes[plane][kind], labels));
    return labels.paths.get(key);
  }

  #fill(kind) {
    const { height, width } = this.picture.labels;
    const labels = this.#labels(kind);
    return canvasOf(fillImage(labels, labels.map((_, plane) => this.hooks.colours(plane)), height, width));
  }

  #difference() {
    const { labels, finding } = this.picture;
    const shown = labels.planes.map((_, plane) => this.hooks.colours(plane).map(Boolean));
    const found = differenceImage(labels.planes, shown, finding, labels.width);
    return found && { canvas: canvasOf(found.image), left: found.left, top: found.top };
  }

  #listen() {
    const { canvas } = this;
    const at = (event) => [event.offsetX, event.offsetY];
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.#keyDown(event));
    canvas.addEventListener("keyup", (event) => this.#keyUp(event));
    canvas.addEventListener("blur", () => (this.space = null));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerleave", () => this.#point(null));
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.picture) return;
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      this.drag = this.#startDrag(event);
      event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      this.#point(at(event));
      for (const step of event.getCoalescedEvents?.() ?? [event]) this.drag?.move(step);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => {
        this.drag?.end();
        this.drag = null;
      });
    }
  }

  /** Arrows move the picture; in an edit the brush, by a pixel, with Shift by ten. */
  #keyDown(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!this.picture || event.ctrlKey || event.metaKey || (!step && event.code !== "Space")) return;
    event.preventDefault();
    if (!step) {
      this.space ??= { used: false };
      return;
    }
    const pixels = (this.edit ? this.view.scale : 24) * (event.shiftKey ? 10 : 1);
    if (!this.edit) this.view.pan(-step[0] * pixels, -step[1] * pixels);
    else this.#movePointer(step[0] * pixels, step[1] * pixels);
    this.draw();
  }

  #movePointer(dx, dy) {
    const { clientWidth, clientHeight } = this.canvas;
    const [x, y] = this.pointer ?? [clientWidth / 2, clientHeight / 2];
    this.pointer = [Math.min(Math.max(x + dx, 0), clientWidth), Math.min(Math.max(y + dy, 0), clientHeight)];
  }

  /** Space by itself is a dab of the brush; with a drag it moved the picture. */
  #keyUp(event) {
    if (event.code !== "Space" || !this.space) return;
    const { used } = this.space;
    this.space = null;
    if (used || !this.edit) return;
    this.#movePointer(0, 0);
    const [offsetX, offsetY] = this.pointer;
    const bounds = this.canvas.getBoundingClientRect();
    const at = { offsetX, offsetY, clientX: bounds.left + offsetX, clientY: bounds.top + offsetY, shiftKey: event.shiftKey };
    this.#brushDrag(at).end();
  }

  #point(place) {
    this.pointer = place;
    if (this.edit) this.draw();
  }

  #wheel(event) {
    if (!this.picture) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * 33 : event.deltaY;
    const zooms = event.ctrlKey || event.metaKey || this.picture.shape.length === 2;
    if (zooms) {
      this.view.zoom(Math.exp(-lines / 400), event.offsetX, event.offsetY, this.paneAt(event.offsetX));
      this.draw();
      return;
    }
    // a touchpad sends many small steps, a wheel one of a hundred
    this.scrolled = (this.scrolled ?? 0) + lines;
    const steps = Math.trunc(this.scrolled / 50);
    this.scrolled -= steps * 50;
    if (steps) this.hooks.scroll(Math.sign(steps) * Math.max(1, Math.round(Math.abs(steps) / 2)));
  }

  #startDrag(event) {
    if (event.button === 2) return this.#windowDrag(event);
    const pans = event.button === 1 || this.space || event.altKey || !this.edit;
    if (this.space) this.space.used = true;
    return pans ? this.#panDrag(event) : this.#brushDrag(event);
  }

  #panDrag(start) {
    let [x, y] = [start.clientX, start.clientY];
    const move = (event) => {
      this.view.pan(event.clientX - x, event.clientY - y);
      [x, y] = [event.clientX, event.clientY];
      this.draw();
    };
    return { move, end: () => {} };
  }

  /** Across: width; up and down: level.  As in most viewers of radiographs. */
  #windowDrag(start) {
    const { low, high } = this.picture.wanted ?? this.picture.window;
    const { least, most } = this.picture.range;
    const unit = Math.max(most - least, 1e-6) / 500;
    const wanted = (event) => {
      const width = Math.max((high - low) + (event.clientX - start.clientX) * unit, unit);
      const level = (low + high) / 2 + (event.clientY - start.clientY) * unit;
      return { low: level - width / 2, high: level + width / 2 };
    };
    let last = { low, high };
    const move = (event) => this.hooks.window((last = wanted(event)), false);
    return { move, end: () => this.hooks.window(last, true) };
  }

  #brushDrag(start) {
    const { edit } = this;
    const { labels, axis, slice } = this.picture;
    const pane = this.paneAt(start.offsetX);
    const given = labels.planes[edit.plane].given;
    const picture = { axis, slice, height: labels.height, width: labels.width, steps: this.view.steps, given };
    const bounds = this.canvas.getBoundingClientRect();
    const place = (event) => this.view.toPicture(event.clientX - bounds.left, event.clientY - bounds.top, pane);
    let last = place(start);
    const erasing = edit.erasing !== start.shiftKey;
    const paint = (event) => {
      const next = place(event);
      edit.paint(last, next, picture, erasing);
      last = next;
      this.edited();
    };
    edit.beginStroke();
    paint(start);
    return { move: paint, end: () => this.hooks.stroked?.(edit.endStroke()) };
  }
}

/** class -> Path2D of its outline.  labels: Uint8Array of a picture of {height, width}. */
function pathsOf(labels, { height, width }) {
  return new Map([...outline(labels, height, width)].map(([value, runs]) => [value, pathOf(runs)]));
}

function canvasOf(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
