/** Outlines along the edges of pixels: crisp at any zoom, and exact. */

const IGNORED = 255;

/**
 * Where the class changes, as straight runs along pixel edges.
 * labels: Uint8Array, height x width in C order.  An edge between two classes belongs to the
 * higher one; the picture's border and ignored pixels count as background.
 * Returns Map class -> [x0, y0, x1, y1, ...] in pixels.
 */
export function outline(labels, height, width) {
  const { bytes, words, stride } = framed(labels, height, width);
  const tracer = new Tracer(stride);
  const perRow = stride / 4;
  // the row below the last one is empty, and ends all runs
  for (let y = 0; y <= height; y++) {
    const row = (y + 1) * perRow;
    let changed = false;
    for (let word = 0; word < perRow; word++) {
      // four pixels that are as those above them begin and end no run, if the one before is so too
      const differs = words[row + word] !== words[row + word - perRow];
      if (differs || changed) tracer.trace(bytes, y, word * 4, word * 4 + 4);
      changed = differs;
    }
    tracer.endRow(y);
  }
  return tracer.runs;
}

/** One Path2D of runs, to be stroked; dx and dy are added. */
export function pathOf(runs, dx = 0, dy = 0) {
  const path = new Path2D();
  for (let i = 0; i < runs.length; i += 4) {
    path.moveTo(runs[i] + dx, runs[i + 1] + dy);
    path.lineTo(runs[i + 2] + dx, runs[i + 3] + dy);
  }
  return path;
}

/** The labels within a frame of background, rows as whole 32-bit words: four are compared at once. */
function framed(labels, height, width) {
  const stride = 4 * Math.ceil((width + 1) / 4);
  const bytes = new Uint8Array((height + 2) * stride);
  for (let y = 0; y < height; y++) bytes.set(labels.subarray(y * width, (y + 1) * width), (y + 1) * stride);
  return { bytes, words: new Uint32Array(bytes.buffer), stride };
}

/** Collects runs while rows are read from above. */
class Tracer {
  constructor(stride) {
    this.stride = stride;
    this.runs = new Map();
    this.owners = new Uint8Array(stride); // of the upright edge on the left of each column
    this.starts = new Int32Array(stride);
    this.owner = 0; // of the level edge above this row that is being followed
    this.start = 0;
    this.end = 0;
  }

  /** Columns first..end-1 of row y; those that were left out are as in the row above. */
  trace(bytes, y, first, end) {
    const { stride, owners, starts } = this;
    if (this.owner && first > this.end) this.#closeLevel(y);
    const row = (y + 1) * stride;
    for (let x = first; x < end; x++) {
      const here = known(bytes[row + x]);
      const above = known(bytes[row + x - stride]);
      const before = x ? known(bytes[row + x - 1]) : 0;
      const upright = here === before ? 0 : Math.max(here, before);
      if (upright !== owners[x]) {
        if (owners[x]) this.#add(owners[x], x, starts[x], x, y);
        owners[x] = upright;
        starts[x] = y;
      }
      const level = here === above ? 0 : Math.max(here, above);
      if (level !== this.owner) {
        this.end = x;
        if (this.owner) this.#closeLevel(y);
        this.owner = level;
        this.start = x;
      }
    }
    this.end = end;
  }

  endRow(y) {
    if (this.owner) this.#closeLevel(y);
  }

  #closeLevel(y) {
    this.#add(this.owner, this.start, y, this.end, y);
    this.owner = 0;
  }

  #add(owner, x0, y0, x1, y1) {
    if (!this.runs.has(owner)) this.runs.set(owner, []);
    this.runs.get(owner).push(x0, y0, x1, y1);
  }
}

const known = (value) => (value === IGNORED ? 0 : value);
