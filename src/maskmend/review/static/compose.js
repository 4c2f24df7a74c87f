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

/** Pixels that are any class. */
function sizeOf(labels) {
  let size = 0;
  for (let i = 0; i < labels.length; i++) if (labels[i] !== 0 && labels[i] !== IGNORED) size++;
  return size;
}

/**
 * What the suggestion adds, removes and changes.
 * planes: as of readLabels.  shown: of each plane, class -> whether it is shown.  finding: {plane,
 * number}: its pixels are seen fully, all others faintly.
 */
export function differenceImage(planes, shown, finding, height, width) {
  const image = new ImageData(width, height);
  const out = new Uint32Array(image.data.buffer);
  const strong = changeColours(255);
  const faint = changeColours(105);
  planes.forEach(({ given, suggested, numbers }, plane) => {
    const number = finding?.plane === plane ? finding.number : -1;
    for (let i = 0; i < given.length; i++) {
      const before = given[i], after = suggested[i];
      if (before === after || before === IGNORED) continue;
      const own = numbers[i] === number;
      // the finding's own pixels are seen whatever is hidden
      if (!own && !(shown[plane][before] || shown[plane][after])) continue;
      const kind = before === 0 ? 0 : after === 0 ? 1 : 2;
      out[i] = own ? strong[kind] : faint[kind];
    }
  });
  return image;
}

function changeColours(alpha) {
  const { added, removed, changed } = CHANGE_COLOURS;
  return [added, removed, changed].map((colour) => packed(colour, alpha));
}

/** The pixels of one finding as labels 0 and 1. */
export function maskOf(numbers, number) {
  const mask = new Uint8Array(numbers.length);
  for (let i = 0; i < numbers.length; i++) if (numbers[i] === number) mask[i] = 1;
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
