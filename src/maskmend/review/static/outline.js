/** Outlines along the edges of pixels: crisp at any zoom, and exact. */

const IGNORED = 255;

/**
 * Where the class changes, as straight runs along pixel edges.
 * labels: Uint8Array, height x width in C order.  An edge between two classes belongs to the
 * higher one; the picture's border and ignored pixels count as background.
 * Returns Map class -> [x0, y0, x1, y1, ...] in pixels.
 */
export function outline(labels, height, width) {
  const box = boundsOf(labels, height, width);
  const runs = new Map();
  if (!box) return runs;
  const add = (owner, x0, y0, x1, y1) => {
    if (!runs.has(owner)) runs.set(owner, []);
    runs.get(owner).push(x0, y0, x1, y1);
  };
  uprightRuns(labels, width, box, add);
  levelRuns(labels, height, width, box, add);
  return runs;
}

/** One Path2D of runs, to be stroked. */
export function pathOf(runs) {
  const path = new Path2D();
  for (let i = 0; i < runs.length; i += 4) {
    path.moveTo(runs[i], runs[i + 1]);
    path.lineTo(runs[i + 2], runs[i + 3]);
  }
  return path;
}

/** Smallest box of all that is a class: {top, bottom, left, right}, ends excluded, or null. */
function boundsOf(labels, height, width) {
  let top = height, bottom = 0, left = width, right = 0;
  for (let y = 0; y < height; y++) {
    const row = y * width;
    let first = 0;
    while (first < width && isNothing(labels[row + first])) first++;
    if (first === width) continue;
    let last = width - 1;
    while (isNothing(labels[row + last])) last--;
    top = Math.min(top, y);
    bottom = y + 1;
    left = Math.min(left, first);
    right = Math.max(right, last + 1);
  }
  return bottom ? { top, bottom, left, right } : null;
}

const isNothing = (value) => value === 0 || value === IGNORED;

/** Edges between left and right neighbours; a run goes on while its class stays. */
function uprightRuns(labels, width, { top, bottom, left, right }, add) {
  const owners = new Uint8Array(right + 1);
  const starts = new Int32Array(right + 1);
  for (let y = top; y < bottom; y++) {
    let before = 0;
    for (let x = left; x <= right; x++) {
      let here = x < right ? labels[y * width + x] : 0;
      if (here === IGNORED) here = 0;
      const owner = here === before ? 0 : Math.max(here, before);
      before = here;
      if (owner === owners[x]) continue;
      if (owners[x]) add(owners[x], x, starts[x], x, y);
      owners[x] = owner;
      starts[x] = y;
    }
  }
  for (let x = left; x <= right; x++) if (owners[x]) add(owners[x], x, starts[x], x, bottom);
}

/** Edges between upper and lower neighbours. */
function levelRuns(labels, height, width, { top, bottom, left, right }, add) {
  for (let y = top; y <= bottom; y++) {
    let owner = 0, start = left;
    for (let x = left; x < right; x++) {
      let above = y > top ? labels[(y - 1) * width + x] : 0;
      let below = y < bottom ? labels[y * width + x] : 0;
      if (above === below && owner === 0) continue;
      if (above === IGNORED) above = 0;
      if (below === IGNORED) below = 0;
      const next = above === below ? 0 : Math.max(above, below);
      if (next === owner) continue;
      if (owner) add(owner, start, y, x, y);
      owner = next;
      start = x;
    }
    if (owner) add(owner, start, y, right, y);
  }
}
