"""The ways of training on wrong labels, by the name that `TrainingSettings.method` calls them."""

from __future__ import annotations

from maskmend.learning.methods.gce import GeneralisedCrossEntropy
from maskmend.learning.methods.interface import Method
from maskmend.learning.methods.plain import Plain

METHODS: dict[str, type[Method]] = {
    "plain": Plain,
    "gce": GeneralisedCrossEntropy,
}
