/*! The 3D view of maskmend's review page, Apache-2.0; holds NiiVue and what that needs. */
// Drawn by NiiVue: three planes and a rendering of a volume with its labels. Everything comes from
// the review server; styles are set through the CSSOM, since the page's policy allows no others.

import { MULTIPLANAR_TYPE, Niivue, NVImage, SLICE_TYPE } from "@niivue/niivue";

const IGNORED = 255;
const NIFTI_INTENT_LABEL = 1002;
const LAYERS = { given: "Given labels", suggested: "Suggested labels", decided: "Decided labels" };
const STEPS = {
  ArrowLeft: [-1, 0, 0],
  ArrowRight: [1, 0, 0],
  ArrowDown: [0, -1, 0],
  ArrowUp: [0, 1, 0],
  PageDown: [0, 0, -1],
  PageUp: [0, 0, 1],
};
const START = { opacity: 0.5, cut: 0.6 };
const UNCUT = 2; // NiiVue: a clip plane this far out cuts nothing

let current = null;

/**
 * Show a volume with its labels in a container, in place of what this module showed before.
 *
 * image: address of a NIfTI file (.nii or .nii.gz).  given, suggested, decided: address of a label
 * volume on the same grid, a list of them (one a plane, where structures overlap), or null.
 * structures: their names.  colours: structure -> "#rrggbb".  classes: name of each value of the
 * labels, "background" first; of several planes a list of such lists.  Left out, it is the
 * background and the structures, or the background and one structure a plane.
 * show: the layer to begin with.  at: index (slice, row, column) to look at first.
 * window: {low, high}, the image's values that become black and white.
 * oriented: whether the affine says how the volume lies in the patient: then it is shown as in
 * radiology, like the slices of the page; else as stored, without letters.
 *
 * Resolves when the volume has been drawn, to {show(layer), moveTo(at)}; rejects with an Error whose
 * message is for the user.  Opened or hidden again before that, it resolves to null.
 */
export async function show3d(container, options) {
  hide3d();
  const view = new View(container, options);
  current = view;
  try {
    await view.open();
  } catch (error) {
    if (view.closed) return null;
    hide3d();
    throw error;
  }
  return view.closed ? null : { show: (layer) => view.show(layer), moveTo: (at) => view.moveTo(at) };
}

/** Take the view out of the page and give its memory back; nothing happens without one. */
export function hide3d() {
  current?.close();
  current = null;
}

class View {
  constructor(container, options) {
    this.container = container;
    this.options = options;
    this.oriented = options.oriented ?? true;
    this.closed = false;
    this.stopped = new AbortController();
    this.overlays = new Map(); // layer -> Promise of its volumes
    this.turn = 0;
    this.layers = Object.keys(LAYERS).filter((layer) => options[layer]?.length);
    this.root = element("div", { className: "view3d" });
    this.canvas = element("canvas", { className: "view3d-canvas", tabIndex: 0 });
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute(
      "aria-label",
      "3D view. Arrow keys, Page Up and Page Down move the crosshair.",
    );
    this.place = element("output", { className: "view3d-place" });
    this.build();
  }

  build() {
    const frame = element("div", { className: "view3d-frame" });
    style(this.root, { display: "flex", flexDirection: "column", width: "100%", height: "100%" });
    // the pictures are dark in a light page, too
    style(this.root, { background: "#0c0e11", color: "#d5dae0", colorScheme: "dark", fontSize: "13px" });
    style(this.place, { padding: "3px 10px", minHeight: "1.4em" });
    style(frame, { flex: "1 1 auto", minHeight: "240px", position: "relative" });
    style(this.canvas, { position: "absolute", inset: "0" });
    frame.append(this.canvas);
    this.root.append(this.toolbar(), frame, this.place);
    this.container.append(this.root);
    this.container.dataset.view3d = "loading";
  }

  toolbar() {
    const bar = element("div", { className: "view3d-bar" });
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "3D view");
    style(bar, { display: "flex", flexWrap: "wrap", gap: "4px 12px", padding: "5px 10px" });
    this.layerChoice = choice(this.layers.map((layer) => [layer, LAYERS[layer]]));
    this.layerChoice.addEventListener("change", () =>
      this.show(this.layerChoice.value).catch((error) => this.say(error.message)),
    );
    this.viewChoice = choice([
      [SLICE_TYPE.MULTIPLANAR, "Planes and 3D"],
      [SLICE_TYPE.RENDER, "3D only"],
      [SLICE_TYPE.AXIAL, "Axial"],
      [SLICE_TYPE.CORONAL, "Coronal"],
      [SLICE_TYPE.SAGITTAL, "Sagittal"],
    ]);
    this.viewChoice.addEventListener("change", () =>
      this.niivue?.setSliceType(Number(this.viewChoice.value)),
    );
    this.opacity = slider(START.opacity, () => this.applyOpacity());
    this.cut = slider(START.cut, () => this.applyCut());
    if (this.layers.length) {
      bar.append(labelled("Show", this.layerChoice), labelled("Label opacity", this.opacity));
    }
    bar.append(labelled("View", this.viewChoice), labelled("Cut open", this.cut));
    return bar;
  }

  async open() {
    const image = await this.load(this.options.image, "image");
    if (this.closed) return;
    await this.attach(image);
    if (this.closed) return;
    const first = this.layers.includes(this.options.show) ? this.options.show : this.layers[0];
    if (first) await this.show(first);
    if (this.closed) return;
    this.applyCut();
    this.moveTo(this.options.at ?? image.hdr.dims.slice(1, 4).reverse().map((n) => (n - 1) / 2));
    await new Promise(requestAnimationFrame);
    this.container.dataset.view3d = "ready";
  }

  async attach(image) {
    const niivue = new Niivue({
      dragAndDropEnabled: false,
      clipPlaneColor: [0, 0, 0, 0],
      logLevel: "error",
      loadingText: "",
      backColor: [0, 0, 0, 1],
      crosshairColor: [1, 0.85, 0.2, 1],
      crosshairWidth: 0.5,
      show3Dcrosshair: true,
      multiplanarLayout: MULTIPLANAR_TYPE.GRID,
      multiplanarForceRender: true,
      multiplanarEqualSize: true,
      isNearestInterpolation: true,
      scrollRequiresFocus: false,
      // the patient's right and front on the left, where the slices of the page have them
      isRadiologicalConvention: this.oriented,
      sagittalNoseLeft: true,
      isOrientationTextVisible: this.oriented,
    });
    // its own keys (H, J, K, L, C, V, D ...) are the page's keys for decisions
    niivue.keyDownListener = () => {};
    niivue.keyUpListener = () => {};
    this.niivue = niivue;
    if (!this.canvas.getContext("webgl2")) {
      throw new Error("This browser has no WebGL 2, which the 3D view needs; the slices go on working.");
    }
    await niivue.attachToCanvas(this.canvas, false);
    const longest = Math.max(...image.hdr.dims.slice(1, 4));
    if (longest > niivue.uiData.max3D) {
      throw new Error(
        `The volume is ${longest} voxels long, this browser's 3D view takes up to ` +
          `${niivue.uiData.max3D}; the slices go on working.`,
      );
    }
    niivue.onLocationChange = (where) => this.tell(where);
    niivue.addVolume(image);
    niivue.setSliceType(SLICE_TYPE.MULTIPLANAR);
    this.canvas.addEventListener("keydown", (event) => this.step(event));
  }

  /** Show one of the label layers. */
  async show(layer) {
    if (!this.layers.includes(layer)) throw new Error(`There are no ${layer} labels to show.`);
    const turn = ++this.turn;
    this.layerChoice.value = layer;
    if (!this.overlays.has(layer)) {
      const loading = this.loadLabels(layer);
      // asked for again after a failure, it is tried again
      loading.catch(() => this.overlays.delete(layer));
      this.overlays.set(layer, loading);
    }
    const volumes = await this.overlays.get(layer);
    if (this.closed || turn !== this.turn) return;
    for (const shown of this.niivue.volumes.slice(1)) this.niivue.removeVolume(shown);
    for (const volume of volumes) {
      volume.opacity = Number(this.opacity.value);
      this.niivue.addVolume(volume);
    }
    this.niivue.drawScene();
    this.niivue.createOnLocationChange();
  }

  async loadLabels(layer) {
    const addresses = [this.options[layer]].flat();
    return Promise.all(
      addresses.map(async (address, plane) => {
        const volume = await this.load(address, layer);
        const names = this.classNames(plane, addresses.length);
        volume.setColormapLabel(this.colormap(names));
        // drawn by the shader for atlases: the other one blurs tables of more than 128 values
        volume.hdr.intent_code = NIFTI_INTENT_LABEL;
        volume.classNames = names;
        return volume;
      }),
    );
  }

  classNames(plane, planes) {
    const { classes, structures } = this.options;
    if (classes?.length) return Array.isArray(classes[0]) ? classes[plane] : classes;
    return ["background", ...(planes > 1 ? [structures[plane]] : structures)];
  }

  colormap(names) {
    const map = { R: [], G: [], B: [], A: [], I: [], labels: [] };
    const add = (value, name, [r, g, b], alpha) => {
      map.R.push(r), map.G.push(g), map.B.push(b), map.A.push(alpha);
      map.I.push(value), map.labels.push(name);
    };
    names.forEach((name, value) => {
      // the background, and what takes no part, are seen through
      add(value, name, value ? rgb(this.options.colours[name]) : [0, 0, 0], value ? 255 : 0);
    });
    add(IGNORED, "ignored", [0, 0, 0], 0);
    return map;
  }

  async load(address, name) {
    const answer = await fetch(address, { signal: this.stopped.signal, credentials: "same-origin" });
    if (!answer.ok) throw new Error(await refusal(answer, name));
    const bytes = await unpacked(await answer.arrayBuffer());
    const { low = NaN, high = NaN } = (name === "image" && this.options.window) || {};
    return NVImage.new(bytes, `${name}.nii`, "gray", 1, null, low, high, true);
  }

  applyOpacity() {
    const volumes = this.niivue?.volumes ?? [];
    for (let index = 1; index < volumes.length; index++) {
      this.niivue.setOpacity(index, Number(this.opacity.value));
    }
  }

  applyCut() {
    // 0 leaves the image whole, 1 takes all of it away; the labels are never cut
    const share = Number(this.cut.value);
    this.niivue?.setClipPlane([share ? share * -1 + 0.5 : UNCUT, 270, 0]);
  }

  /** Put the crosshair on the voxel (slice, row, column). */
  moveTo(at) {
    const { affine } = this.niivue.volumes[0].hdr;
    const [x, y, z] = [at[2], at[1], at[0]];
    const mm = [0, 1, 2].map(
      (k) => affine[k][0] * x + affine[k][1] * y + affine[k][2] * z + affine[k][3],
    );
    this.niivue.scene.crosshairPos = this.niivue.mm2frac(mm);
    this.niivue.drawScene();
    this.niivue.createOnLocationChange();
  }

  step(event) {
    const move = STEPS[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const [right, front, up] = move;
    this.niivue.moveCrosshairInVox(this.oriented ? -right : right, front, up);
  }

  tell(where) {
    const [image, ...labels] = where.values;
    const named = labels.map((label, index) => {
      const names = this.niivue.volumes[index + 1]?.classNames ?? [];
      return Math.round(label.value) === IGNORED ? "ignored" : names[Math.round(label.value)];
    });
    // of several planes most say background
    const found = named.filter((name) => name && name !== "background");
    const mm = Array.from(where.mm.slice(0, 3), (value) => value.toFixed(1)).join(", ");
    const label = named.length ? ` · ${found.join(", ") || "background"}` : "";
    this.say(`${mm} mm · value ${Number(image.value.toPrecision(5))}${label}`);
  }

  say(text) {
    this.place.textContent = text;
  }

  close() {
    this.closed = true;
    this.stopped.abort();
    this.niivue?.cleanup();
    // browsers allow few contexts, and free them late
    this.niivue?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
    this.root.remove();
    delete this.container.dataset.view3d;
  }
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

function style(node, properties) {
  Object.assign(node.style, properties);
}

function choice(entries) {
  const select = element("select", {});
  style(select, { background: "#1d2126", color: "inherit" });
  for (const [value, textContent] of entries) select.append(element("option", { value, textContent }));
  return select;
}

function slider(value, changed) {
  const input = element("input", { type: "range", min: "0", max: "1", step: "0.05" });
  input.value = String(value);
  style(input, { width: "70px" });
  input.addEventListener("input", changed);
  return input;
}

function labelled(text, control) {
  const label = element("label", {});
  style(label, { display: "inline-flex", gap: "6px", alignItems: "center" });
  label.append(element("span", { textContent: text }), control);
  return label;
}

function rgb(colour) {
  const found = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(colour ?? "");
  if (!found) throw new Error(`A colour of a structure is ${colour}, not of the form #rrggbb.`);
  return found.slice(1).map((digits) => parseInt(digits, 16));
}

async function unpacked(buffer) {
  const [first, second] = new Uint8Array(buffer, 0, Math.min(2, buffer.byteLength));
  if (first !== 0x1f || second !== 0x8b) return buffer;
  const plain = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(plain).arrayBuffer();
}

async function refusal(answer, name) {
  const told = await answer.json().catch(() => null);
  const { got, remedy } = told?.error ?? {};
  const why = [got, remedy].filter(Boolean).join(". ");
  return `The ${name} cannot be shown in 3D: ${why || `the server answered ${answer.status}`}`;
}
