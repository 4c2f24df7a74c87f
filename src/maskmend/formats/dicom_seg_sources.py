"""Which source image a frame of a segmentation was drawn on, where the others tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from maskmend.formats.dicom_seg_layout import Layout, Place


@dataclass(frozen=True)
class Sources:
    """The sources of the stored frames, by the ordinal of their slice or tile.

    known: place in `instances`, or, with one_file, the frame number in the only one.  Empty where
    a frame has no source, several, or another than a frame of the same slice.  template: a
    DerivationImageSequence to fill in.
    """

    known: Mapping[int, int] = field(default_factory=dict)
    instances: tuple[str, ...] = ()
    one_file: bool = False
    template: Items | None = None

    @classmethod
    def of(cls, dataset: Dataset, layout: Layout, items: Sequence[Dataset]) -> Sources:
        """items: of the PerFrameFunctionalGroupsSequence, in the order of `layout.frames`."""
        instances = tuple(
            str(instance.ReferencedSOPInstanceUID)
            for series in dataset.get("ReferencedSeriesSequence", None) or []
            for instance in series.get("ReferencedInstanceSequence", None) or []
        )
        found: dict[int, tuple[str, int | None]] = {}
        for (_, place), item in zip(layout.frames, items, strict=True):
            source = _only_source(item)
            if source is None or found.setdefault(ordinal(layout, place), source) != source:
                return cls()
        uids = {uid for uid, _ in found.values()}
        template = items[0].DerivationImageSequence
        frames = {at: number for at, (_, number) in found.items() if number is not None}
        if len(uids) == 1 and len(frames) == len(found):
            return cls(frames, instances, True, template)
        if frames or not uids <= set(instances):
            return cls()
        where = {uid: k for k, uid in enumerate(instances)}
        return cls({at: where[uid] for at, (uid, _) in found.items()}, instances, False, template)

    def derivation(self, at: int) -> Items:
        """The DerivationImageSequence of a frame between stored ones; empty where it is unknown.

        Known where, from slice to slice without exception, the source is the next instance of the
        ReferencedSeriesSequence, or the next frame of one instance.
        """
        if self.template is None or not min(self.known) < at < max(self.known):
            return Items()
        found = value_on_line(self.known, at)
        if found is None:
            return Items()
        derivation = deepcopy(self.template)
        image = derivation[0].SourceImageSequence[0]
        if self.one_file:
            image.ReferencedFrameNumber = found
        else:
            image.ReferencedSOPInstanceUID = self.instances[found]
        return derivation


def _only_source(item: Dataset) -> tuple[str, int | None] | None:
    """(SOPInstanceUID, frame number) of an item that has one source."""
    derivations = item.get("DerivationImageSequence", None) or []
    images = derivations[0].get("SourceImageSequence", None) or [] if len(derivations) == 1 else []
    if len(images) != 1:
        return None
    frame = images[0].get("ReferencedFrameNumber", None)
    if frame is not None and len(np.atleast_1d(frame)) != 1:
        return None
    uid = str(images[0].ReferencedSOPInstanceUID)
    return uid, None if frame is None else int(np.atleast_1d(frame)[0])


def ordinal(layout: Layout, place: Place) -> int:
    """Which slice, or which tile of the regular ones; -1 for a tile between these."""
    if layout.corners:
        return layout.corners.index(place) if place in layout.corners else -1
    return place[0] if place else 0


def value_on_line(known: Mapping[int, int], at: int) -> int | None:
    """Value at a place of a sequence in which each step is 1, or each -1; None where it is not."""
    first = min(known)
    for step in (1, -1):
        if len(known) > 1 and all(v == known[first] + step * (k - first) for k, v in known.items()):
            return known[first] + step * (at - first)
    return None
