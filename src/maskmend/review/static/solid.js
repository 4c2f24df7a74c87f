/** The 3D view: fetched and shown only when it is asked for, where the package has it. */

import { announce, byId, setText } from "./dom.js";

const KINDS = ["image", "given", "suggested", "decided"];

export class Solid {
  /** run: of /api/run.  finding, meta: functions that give what is looked at. */
  constructor(run, finding, meta) {
    this.run = run;
    this.finding = finding;
    this.meta = meta;
    this.module = null;
    this.open = false;
  }

  async toggle() {
    if (this.open) return this.close();
    const reason = this.#reason();
    if (reason) {
      setText(byId("notice"), reason);
      announce(reason);
      return;
    }
    this.#show(true);
    try {
      this.module ??= await import("/static/view3d.js");
      if (this.open) await this.module.show3d(byId("volume"), this.#wanted());
    } catch (error) {
      this.close();
      setText(byId("notice"), `No 3D view: ${error.message}`);
    }
  }

  close() {
    if (!this.open) return;
    this.#show(false);
    this.module?.hide3d();
  }

  #reason() {
    if (!this.run.view3d) return this.run.view3d_reason ?? "This installation has no 3D view.";
    return this.meta()?.volume ? null : "A 2D picture has no 3D view.";
  }

  #show(open) {
    this.open = open;
    byId("volume").hidden = !open;
    byId("view3d").setAttribute("aria-pressed", String(open));
    setText(byId("notice"), "");
  }

  /** What view3d.js takes: addresses of the finding's plane, its classes and their colours. */
  #wanted() {
    const { plane, case_index: index, centroid } = this.finding();
    const address = (kind) => `/api/cases/${index}/volume/${kind}.nii.gz?plane=${plane}`;
    const { classes } = this.run.planes[plane];
    return {
      ...Object.fromEntries(KINDS.map((kind) => [kind, address(kind)])),
      structures: classes.slice(1),
      classes,
      colours: this.run.colours,
      window: this.meta().window,
      oriented: this.meta().directions !== null,
      show: "suggested",
      at: centroid,
    };
  }
}
