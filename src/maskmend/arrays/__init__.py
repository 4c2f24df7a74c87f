"""Pure array code: arrays in, arrays out; no files, no torch, no globals; any number of axes."""
