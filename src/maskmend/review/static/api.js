/** The only module that speaks to the server: what it answers, what it refuses, when it is silent. */

const PATIENCE = 20000; // ms until a silent server counts as unreachable

/** The server understood and refused.  expected, got, remedy: as every error of maskmend has them. */
export class Refused extends Error {
  constructor(status, { expected = "", got = "", remedy = "" }) {
    super([expected && `Expected: ${expected}.`, got && `Got: ${got}.`, remedy].filter(Boolean).join(" "));
    this.status = status;
  }
}

/** No answer came: the server is down, or the way to it. */
export class Unreachable extends Error {}

/**
 * Fetch and read one answer.
 * read: Response -> value.  Throws Refused, Unreachable, or AbortError when `signal` was used.
 */
async function call(path, options, read) {
  const { signal, ...rest } = options;
  const limit = AbortSignal.timeout(PATIENCE);
  let response;
  try {
    response = await fetch(path, { ...rest, signal: signal ? AbortSignal.any([signal, limit]) : limit });
    if (response.ok) return await read(response);
  } catch (error) {
    if (signal?.aborted || error instanceof RangeError) throw error;
    throw new Unreachable("The review server does not answer.");
  }
  throw new Refused(response.status, await refusalOf(response));
}

async function refusalOf(response) {
  try {
    const { error } = await response.json();
    return error ?? {};
  } catch {
    return { got: `status ${response.status}` };
  }
}

const json = (response) => response.json();

/** parameters: name -> value; undefined, null and "" are left out. */
function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return new URLSearchParams(given).toString();
}

export const getRun = () => call("/api/run", {}, json);
export const getQueue = (filter, signal) => call(`/api/queue?${query(filter)}`, { signal }, json);
export const getFinding = (id) => call(`/api/findings/${encodeURIComponent(id)}`, {}, json);
export const getCase = (index, signal) => call(`/api/cases/${index}`, { signal }, json);
export const getProgress = (reviewer) => call(`/api/progress?${query({ reviewer })}`, {}, json);
export const getChanges = (after) => call(`/api/changes?${query({ after })}`, {}, json);

export const postDecision = (body) => post("/api/decisions", body);
export const postUndo = (body) => post("/api/undo", body);
export const postBulk = (body) => post("/api/bulk", body);

function post(path, body) {
  const headers = { "Content-Type": "application/json", "X-Maskmend": "1" };
  return call(path, { method: "POST", headers, body: JSON.stringify(body) }, json);
}

/** One slice as an ImageBitmap, windowed by the server.  place: {index, axis, slice, channel}. */
export function getImage(place, window, signal, priority = "auto") {
  const { index, axis, slice, channel } = place;
  const path = `/api/cases/${index}/image?${query({ axis, slice, channel, low: window?.low, high: window?.high })}`;
  const exact = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  return call(path, { signal, priority }, async (response) => createImageBitmap(await response.blob(), exact));
}

/** Labels of one slice: see readLabels.  decided: with the decisions that count applied. */
export function getLabels(place, decided, signal, priority = "auto") {
  const { index, axis, slice } = place;
  const path = `/api/cases/${index}/labels?${query({ axis, slice, decided: decided ? 1 : 0 })}`;
  return call(path, { signal, priority }, async (response) => readLabels(await response.arrayBuffer()));
}

/**
 * Little-endian uint32 planes, height, width; then of each plane given, suggested and decided
 * (uint8, height x width; 255 = takes no part) and the findings' numbers (uint16; 0 = none).
 * Returns {height, width, planes: [{given, suggested, decided, numbers}]}, typed arrays in C order.
 */
export function readLabels(buffer) {
  const [count, height, width] = new Uint32Array(buffer, 0, 3);
  const pixels = height * width;
  const expected = 12 + count * pixels * 5;
  if (buffer.byteLength !== expected) throw new RangeError(`labels of ${buffer.byteLength} bytes, expected ${expected}`);
  const planes = [];
  for (let plane = 0; plane < count; plane++) {
    const start = 12 + plane * pixels * 5;
    const bytes = (part) => new Uint8Array(buffer, start + part * pixels, pixels);
    planes.push({
      given: bytes(0),
      suggested: bytes(1),
      decided: bytes(2),
      // copied, as a Uint16Array may not begin at an odd byte
      numbers: new Uint16Array(buffer.slice(start + 3 * pixels, start + 5 * pixels)),
    });
  }
  return { height, width, planes };
}
