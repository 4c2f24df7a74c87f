"""The ways of training on wrong labels, by the name that `TrainingSettings.method` calls them."""

from __future__ import annotations

from maskmend.learning.methods.adele import Adele
from maskmend.learning.methods.co_teaching import CoTeaching
from maskmend.learning.methods.gce import GeneralisedCrossEntropy
from maskmend.learning.methods.interface import Method
from maskmend.learning.methods.jocor import JoCoR
from maskmend.learning.methods.nr_dice import NoiseRobustDice
from maskmend.learning.methods.pick_and_learn import PickAndLearn
from maskmend.learning.methods.plain import Plain
from maskmend.learning.methods.spatial_correction import SpatialCorrection
from maskmend.learning.methods.trinet import TriNet

METHODS: dict[str, type[Method]] = {
    "plain": Plain,
    "gce": GeneralisedCrossEntropy,
    "nr_dice": NoiseRobustDice,
    "co_teaching": CoTeaching,
    "trinet": TriNet,
    "jocor": JoCoR,
    "pick_and_learn": PickAndLearn,
    "adele": Adele,
    "spatial_correction": SpatialCorrection,
}
