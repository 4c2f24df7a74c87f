/** An edit: the given labels of one plane with pixels painted over, in any slice of any direction. */

const UNTOUCHED = 254;
const IGNORED = 255;

export class Edit {
  /**
   * shape: of the case, (rows, columns) or (slices, rows, columns).  plane: of the labels.
   * classes: names of the plane's classes.  colour: the class that the brush begins with.
   */
  constructor({ shape, plane, classes, colour }) {
    this.shape = shape.length === 2 ? [1, ...shape] : [...shape];
    this.plane = plane;
    this.classes = classes;
    this.colour = colour;
    this.erasing = false;
    this.radius = 4;
    this.slices = new Map(); // slice of the first axis -> Uint8Array of its painted classes
    this.done = []; // strokes: {places, before, after}
    this.undone = [];
    this.stroke = null;
  }

  get isVolume() {
    return this.shape[0] > 1;
  }

  /** Begin with a finding's own pixels as suggested.  planes: of slice k along the first axis. */
  seed(k, planes, findingNumber) {
    const { given, suggested, numbers } = planes[this.plane];
    for (let i = 0; i < numbers.length; i++) {
      if (numbers[i] === findingNumber && suggested[i] !== given[i]) this.#slice(k)[i] = suggested[i];
    }
  }

  /** The labels of a slice as edited; given: Uint8Array of that slice.  Returns a new array. */
  applied(given, axis, slice) {
    const edited = given.slice();
    const [, rows, columns] = this.shape;
    if (axis === 0) {
      const painted = this.slices.get(slice);
      if (painted) for (let i = 0; i < edited.length; i++) if (painted[i] !== UNTOUCHED) edited[i] = painted[i];
      return edited;
    }
    const length = axis === 1 ? columns : rows;
    for (const [z, painted] of this.slices) {
      for (let j = 0; j < length; j++) {
        const value = painted[axis === 1 ? slice * columns + j : j * columns + slice];
        if (value !== UNTOUCHED) edited[z * length + j] = value;
      }
    }
    return edited;
  }

  beginStroke() {
    this.stroke = { places: [], before: [], after: [] };
  }

  /** Ends the stroke; a stroke that changed nothing is none.  Returns whether it changed anything. */
  endStroke() {
    const stroke = this.stroke;
    this.stroke = null;
    if (!stroke?.places.length) return false;
    this.done.push(stroke);
    this.undone = [];
    return true;
  }

  /**
   * Paint the brush along a line of the picture.
   * from, to: [row, column], continuous.  picture: {axis, slice, height, width, steps, given}, where
   * steps are the relative sizes of a pixel: the brush is round in space, not in pixels.
   */
  paint(from, to, picture, erasing = this.erasing) {
    const [down, across] = picture.steps;
    const length = Math.hypot((to[0] - from[0]) * down, (to[1] - from[1]) * across);
    const stamps = Math.max(1, Math.ceil(length / Math.max(this.radius / 2, 0.5)));
    for (let stamp = 0; stamp <= stamps; stamp++) {
      const part = stamp / stamps;
      this.#stamp(from[0] + part * (to[0] - from[0]), from[1] + part * (to[1] - from[1]), picture, erasing ? 0 : this.colour);
    }
  }

  undo() {
    return this.#replay(this.done, this.undone, "before");
  }

  redo() {
    return this.#replay(this.undone, this.done, "after");
  }

  /** [[start, length, class], ...] over the C order of the plane's whole array. */
  runs() {
    const area = this.shape[1] * this.shape[2];
    const runs = [];
    for (const k of [...this.slices.keys()].sort((a, b) => a - b)) {
      const painted = this.slices.get(k);
      for (let i = 0; i < area; ) {
        const value = painted[i];
        const start = i;
        while (i < area && painted[i] === value) i++;
        if (value === UNTOUCHED) continue;
        const last = runs.at(-1);
        const begins = k * area + start;
        if (last && last[0] + last[1] === begins && last[2] === value) last[1] += i - start;
        else runs.push([begins, i - start, value]);
      }
    }
    return runs;
  }

  #stamp(row, column, picture, value) {
    const { axis, slice, height, width, steps, given } = picture;
    const [down, across] = steps;
    const reach = Math.max(this.radius, 0.5);
    const high = Math.min(height - 1, Math.floor(row + reach / down));
    const right = Math.min(width - 1, Math.floor(column + reach / across));
    for (let r = Math.max(0, Math.floor(row - reach / down)); r <= high; r++) {
      for (let c = Math.max(0, Math.floor(column - reach / across)); c <= right; c++) {
        const away = Math.hypot((r + 0.5 - row) * down, (c + 0.5 - column) * across);
        const under = r === Math.floor(row) && c === Math.floor(column);
        const before = given[r * width + c];
        if ((away > reach && !under) || before === IGNORED) continue;
        this.#set(this.#placeOf(axis, slice, r, c), value === before ? UNTOUCHED : value);
      }
    }
  }

  /** C-order index in the volume of a pixel of a picture. */
  #placeOf(axis, slice, row, column) {
    const [, rows, columns] = this.shape;
    if (axis === 0) return (slice * rows + row) * columns + column;
    return axis === 1 ? (row * rows + slice) * columns + column : (row * rows + column) * columns + slice;
  }

  #set(place, value) {
    const area = this.shape[1] * this.shape[2];
    const slice = this.#slice(Math.floor(place / area));
    const before = slice[place % area];
    if (before === value) return;
    slice[place % area] = value;
    this.stroke.places.push(place);
    this.stroke.before.push(before);
    this.stroke.after.push(value);
  }

  #slice(k) {
    if (!this.slices.has(k)) this.slices.set(k, new Uint8Array(this.shape[1] * this.shape[2]).fill(UNTOUCHED));
    return this.slices.get(k);
  }

  #replay(from, to, side) {
    const stroke = from.pop();
    if (!stroke) return false;
    const area = this.shape[1] * this.shape[2];
    const values = stroke[side];
    const order = [...values.keys()];
    // a pixel may have changed twice in a stroke: its first state is the oldest
    if (side === "before") order.reverse();
    for (const i of order) this.#slice(Math.floor(stroke.places[i] / area))[stroke.places[i] % area] = values[i];
    to.push(stroke);
    return true;
  }
}
