"""From a run back into the user's world: the parts of `stages.export`.

`options` says what is wanted and whether OUT may take it, `deciding` which pixels change and into
what, `labels` writes the data set, `targets` soft labels for training elsewhere, `segments` what
3D Slicer shows, `tables` what was found and every change.
"""
