"""From a run back into the user's world: the parts of `stages.export`.

`options` says what is wanted and whether OUT may take it, `labels` writes the data set, `targets`
soft labels for training elsewhere, `segments` what 3D Slicer shows, `tables` every change.  Which
pixels change is said by `maskmend.deciding`, what was found by `maskmend.findings`.
"""
