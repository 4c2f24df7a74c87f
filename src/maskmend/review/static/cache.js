/** Pictures and labels that are at hand or on their way: bounded, and stopped when no longer wanted. */

export class Cache {
  /** bytes: kept at most, besides what is on its way. */
  constructor(bytes) {
    this.limit = bytes;
    this.bytes = 0;
    this.entries = new Map(); // oldest use first
  }

  /** The value at once where it is here, else undefined. */
  peek(key) {
    return this.entries.get(key)?.value;
  }

  /**
   * The value of a key, loaded once however often it is asked for.
   * load: (AbortSignal) -> promise.  size: value -> bytes.
   */
  load(key, load, size) {
    const known = this.entries.get(key);
    if (known) {
      this.entries.delete(key);
      this.entries.set(key, known);
      return known.promise;
    }
    const controller = new AbortController();
    const entry = { controller, bytes: 0, value: undefined };
    entry.promise = load(controller.signal).then(
      (value) => this.#keep(key, entry, value, size(value)),
      (error) => {
        if (this.entries.get(key) === entry) this.entries.delete(key);
        throw error;
      },
    );
    // whoever awaits it hears of the failure; a prefetch that nobody awaits is no error
    entry.promise.catch(() => {});
    this.entries.set(key, entry);
    return entry.promise;
  }

  /** Stop what is on its way and not wanted.  wanted: Set of keys. */
  abandon(wanted) {
    for (const [key, entry] of this.entries) {
      if (entry.value === undefined && !wanted.has(key)) {
        this.entries.delete(key);
        entry.controller.abort();
      }
    }
  }

  /** Forget what is known under keys that begin so. */
  forget(prefix) {
    for (const [key, entry] of this.entries) {
      if (!key.startsWith(prefix)) continue;
      this.entries.delete(key);
      this.bytes -= entry.bytes;
    }
  }

  #keep(key, entry, value, bytes) {
    if (this.entries.get(key) !== entry) return value;
    entry.value = value;
    entry.bytes = bytes;
    this.bytes += bytes;
    for (const [old, { bytes: freed, value: done }] of this.entries) {
      if (this.bytes <= this.limit) break;
      // the newest stays, however large it is
      if (done === undefined || old === key) continue;
      this.entries.delete(old);
      this.bytes -= freed;
    }
    return value;
  }
}
