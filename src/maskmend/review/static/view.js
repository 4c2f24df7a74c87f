/** Which part of a picture is seen, how large, and which way up. */

/** Axes of the case that are a picture's rows and columns, by the axis that is cut. */
export function picturedAxes(dimensions, axis) {
  const all = [...Array(dimensions).keys()];
  return dimensions === 2 ? all : all.filter((a) => a !== axis);
}

/**
 * Radiological display: front and head up, the patient's right on the left.
 * directions: letter to which the index of an axis grows (R, L, A, P, S, I), or null.
 */
const turned = (directions, axis) => "AS".includes(directions[axis]);
const mirrored = (directions, axis) => "RA".includes(directions[axis]);
const OPPOSITE = { R: "L", L: "R", A: "P", P: "A", S: "I", I: "S" };

export class View {
  constructor() {
    this.row = 0; // of the centre of the pane, in pixels of the picture
    this.column = 0;
    this.scale = 1; // CSS pixels a pixel of the picture takes, along its finer axis
    this.steps = [1, 1];
    this.flips = [1, 1]; // -1: rows grow upwards, columns to the left
    this.letters = null;
  }

  /** Take the shape of pixels and the orientation of one plane through a case. */
  setPlane({ shape, spacing, directions }, axis) {
    const axes = picturedAxes(shape.length, axis);
    const [down, across] = axes.map((a) => (spacing ? spacing[a] : 1));
    const finest = Math.min(down, across);
    this.steps = [down / finest, across / finest];
    if (!directions) {
      this.flips = [1, 1];
      this.letters = null;
      return;
    }
    const [rows, columns] = axes;
    const up = turned(directions, rows), left = mirrored(directions, columns);
    this.flips = [up ? -1 : 1, left ? -1 : 1];
    const bottom = up ? OPPOSITE[directions[rows]] : directions[rows];
    const right = left ? OPPOSITE[directions[columns]] : directions[columns];
    this.letters = { top: OPPOSITE[bottom], bottom, left: OPPOSITE[right], right };
  }

  /** See the whole of box [[row, row], [column, column]], ends excluded, and `margin` x it around. */
  fit([[r0, r1], [c0, c1]], pane, margin, limit = 64) {
    this.row = (r0 + r1) / 2;
    this.column = (c0 + c1) / 2;
    const high = Math.max(r1 - r0, 1) * this.steps[0] * (1 + 2 * margin);
    const wide = Math.max(c1 - c0, 1) * this.steps[1] * (1 + 2 * margin);
    this.scale = Math.min(pane.height / high, pane.width / wide, limit);
  }

  /** Show no more of what is beyond the picture than must be. */
  clamp(height, width, pane) {
    const half = (size, step) => size / (2 * this.scale * step);
    const within = (at, length, reach) => (2 * reach >= length ? length / 2 : Math.min(Math.max(at, reach), length - reach));
    this.row = within(this.row, height, half(pane.height, this.steps[0]));
    this.column = within(this.column, width, half(pane.width, this.steps[1]));
  }

  /** Zoom by a factor, keeping the place under (x, y) of the pane. */
  zoom(factor, x, y, pane) {
    const [row, column] = this.toPicture(x, y, pane);
    this.scale = Math.min(Math.max(this.scale * factor, 0.02), 80);
    const [newRow, newColumn] = this.toPicture(x, y, pane);
    this.row += row - newRow;
    this.column += column - newColumn;
  }

  /** Move the picture by CSS pixels. */
  pan(dx, dy) {
    this.row -= dy / (this.scale * this.steps[0] * this.flips[0]);
    this.column -= dx / (this.scale * this.steps[1] * this.flips[1]);
  }

  /** Place in the picture, in pixels from its corner, of (x, y) of the pane. */
  toPicture(x, y, pane) {
    return [
      this.row + (y - pane.y - pane.height / 2) / (this.scale * this.steps[0] * this.flips[0]),
      this.column + (x - pane.x - pane.width / 2) / (this.scale * this.steps[1] * this.flips[1]),
    ];
  }

  /** (x, y) of the canvas where a place in the picture is seen. */
  toPane(row, column, pane) {
    return [
      pane.x + pane.width / 2 + (column - this.column) * this.scale * this.steps[1] * this.flips[1],
      pane.y + pane.height / 2 + (row - this.row) * this.scale * this.steps[0] * this.flips[0],
    ];
  }

  /** Of CanvasRenderingContext2D.setTransform, for pixels of the picture. */
  matrix(pane, ratio) {
    const a = this.scale * this.steps[1] * this.flips[1];
    const d = this.scale * this.steps[0] * this.flips[0];
    const [e, f] = this.toPane(0, 0, pane);
    return [a * ratio, 0, 0, d * ratio, e * ratio, f * ratio];
  }
}
