/** Label bytes into see-through colours, as ImageData. */

const IGNORED = 255;
const GREY = packed("#808080", 90);

/** The report has the same three colours for the same three things. */
export const CHANGE_COLOURS = { added: "#00c8ff", removed: "#ff4628", changed: "#fff050" };

/** "#rrggbb" and opacity 0..255 as one little-endian RGBA number. */
export function packed(colour, alpha) {
  const value = parseInt(colour.slice(1), 16);
  return ((alpha << 24) | ((value & 255) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

/**
 * Fill of all structures.
 * planes: [Uint8Array].  palettes: of each plane, class -> "#rrggbb" or null (hidden); the first
 * is background.  Where structures of several planes lie on each other the smaller one is seen: a
 * clavicle on a lung.
 */
export function fillImage(planes, palettes, height, width) {
  const image = new ImageData(width, height);
  const out = new Uint32Array(image.data.buffer);
  const sizes = planes.map(sizeOf);
  const largestFirst = [...planes.keys()].sort((a, b) => sizes[b] - sizes[a]);
  for (const plane of largestFirst) {
    const labels = planes[plane];
    const colours = new Uint32Array(256);
    palettes[plane].forEach((colour, value) => {
      if (value && colour) colours[value] = packed(colour, 255);
    });
    colours[IGNORED] = GREY;
    for (let i = 0; i < labels.length; i++) {
      const colour = colours[labels[i]];
      if (colour) out[i] = colour;
    }
  }
  return image;
}

/** Pixels that are any class, counted at some of them: enough to tell a lung from a clavicle. */
function sizeOf(labels) {
  let size = 0;
  for (let i = 0; i < labels.length; i += 7) if (labels[i] !== 0 && labels[i] !== IGNORED) size++;
  return size;
}

/**
 * What the suggestion adds, removes and changes.
 * planes: as of readLabels.  shown: of each plane, class -> whether it is shown.  finding: {plane,
 * number}: its pixels are seen fully, all others faintly.
 * Returns {image, top, left}: only the box in which anything differs; null where nothing does.
 */
export function differenceImage(planes, shown, finding, width) {
  const places = planes.map(({ given, suggested }) => differing(given, suggested));
  const box = boxOf(places, width);
  if (!box) return null;
  const image = new ImageData(box.right - box.left, box.bottom - box.top);
  const out = new Uint32Array(image.data.buffer);
  const strong = changeColours(255);
  const faint = changeColours(105);
  planes.forEach(({ given, suggested, numbers }, plane) => {
    const number = finding?.plane === plane ? finding.number : -1;
    for (const i of places[plane]) {
      const before = given[i], after = suggested[i];
      const own = numbers[i] === number;
      // the finding's own pixels are seen whatever is hidden
      if (before === IGNORED || (!own && !shown[plane][before] && !shown[plane][after])) continue;
      const kind = before === 0 ? 0 : after === 0 ? 1 : 2;
      const place = (Math.floor(i / width) - box.top) * image.width + (i % width) - box.left;
      out[place] = own ? strong[kind] : faint[kind];
    }
  });
  return { image, top: box.top, left: box.left };
}

/** Indices at which two label arrays differ. */
function differing(one, other) {
  const found = [];
  const single = (from, to) => {
    for (let i = from; i < to; i++) if (one[i] !== other[i]) found.push(i);
  };
  const aligned = one.byteOffset % 4 === 0 && other.byteOffset % 4 === 0;
  const count = aligned ? one.length >> 2 : 0;
  const [a, b] = aligned ? [one, other].map((bytes) => new Uint32Array(bytes.buffer, bytes.byteOffset, count)) : [];
  // four pixels at a time, as nearly all are the same
  for (let word = 0; word < count; word++) if (a[word] !== b[word]) single(4 * word, 4 * word + 4);
  single(4 * count, one.length);
  return found;
}

/** {top, bottom, left, right}, ends excluded, around indices of a picture; null around none. */
function boxOf(places, width) {
  let top = Infinity, bottom = 0, left = Infinity, right = 0;
  for (const indices of places) {
    for (const i of indices) {
      const y = Math.floor(i / width), x = i - y * width;
      if (y < top) top = y;
      if (y >= bottom) bottom = y + 1;
      if (x < left) left = x;
      if (x >= right) right = x + 1;
    }
  }
  return bottom ? { top, bottom, left, right } : null;
}

function changeColours(alpha) {
  const { added, removed, changed } = CHANGE_COLOURS;
  return [added, removed, changed].map((colour) => packed(colour, alpha));
}

/**
 * The pixels of one finding within its box, as labels 0 and 1.
 * numbers: Uint16Array of rows of `width`.  box: [[row, row], [column, column]], ends excluded.
 */
export function maskOf(numbers, width, number, [[top, bottom], [left, right]]) {
  const mask = new Uint8Array((bottom - top) * (right - left));
  let at = 0;
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) mask[at++] = numbers[y * width + x] === number ? 1 : 0;
  }
  return mask;
}

/**
 * The picture with another window, while the server's own one is not there yet.
 * grey: RGBA bytes of the picture that was windowed by `from`; from, to: {low, high}.
 */
export function rewindowed(rgba, from, to, height, width) {
  const image = new ImageData(width, height);
  const table = new Uint8ClampedArray(256);
  const span = Math.max(to.high - to.low, 1e-12);
  for (let v = 0; v < 256; v++) table[v] = ((from.low + (v / 255) * (from.high - from.low) - to.low) / span) * 255;
  const out = image.data;
  for (let i = 0; i < rgba.length; i += 4) {
    out[i] = table[rgba[i]];
    out[i + 1] = table[rgba[i + 1]];
    out[i + 2] = table[rgba[i + 2]];
    out[i + 3] = 255;
  }
  return image;
}
