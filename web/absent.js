// In place of zarrita: the 3D view reads NIfTI only, and without the codecs of Zarr the bundle has
// no WebAssembly, which the review page's policy does not allow.
function absent() {
  throw new Error("The 3D view reads NIfTI only, not Zarr.");
}

export const get = absent;
export const open = absent;
export const root = absent;
export const slice = absent;
export class FetchStore {
  constructor() {
    absent();
  }
}
