"""Folds: patients stay together, folds are balanced, a seed is a plan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmend.core import Case, StatedFold
from maskmend.errors import SettingsError
from maskmend.learning.crossfit import plan_folds, stated_plan

patients = st.lists(st.integers(1, 6), min_size=2, max_size=12)
seeds = st.integers(0, 1000)


def cases_of(images_of_patient: list[int]) -> list[Case]:
    return [
        Case(f"p{patient}-{image}", f"p{patient}", "training", Path("x.png"))
        for patient, count in enumerate(images_of_patient)
        for image in range(count)
    ]


@given(patients, st.integers(2, 12), seeds)
def test_patients_stay_together_and_folds_are_balanced(
    images: list[int], count: int, seed: int
) -> None:
    cases = cases_of(images)
    count = min(count, len(images))
    plan = plan_folds(cases, count, seed)
    assert set(plan.folds) == {case.id for case in cases}
    folds_of = {group: {plan.folds[c.id] for c in cases if c.group == group}
                for group in {case.group for case in cases}}  # fmt: skip
    assert all(len(folds) == 1 for folds in folds_of.values())
    sizes = Counter(plan.folds.values())
    assert set(sizes) == set(range(count))
    assert max(sizes.values()) - min(sizes.values()) <= max(images)


@given(patients, seeds)
def test_no_teacher_is_trained_on_a_patient_that_it_predicts(images: list[int], seed: int) -> None:
    cases = cases_of(images)
    plan = plan_folds(cases, 2, seed)
    group = {case.id: case.group for case in cases}
    for fold in range(plan.count):
        held_out, trained_on = plan.held_out(fold), plan.trained_on(fold)
        assert {group[c] for c in held_out}.isdisjoint(group[c] for c in trained_on)
        assert sorted(held_out + trained_on) == sorted(group)


@given(patients, seeds, st.randoms(use_true_random=False))
def test_a_seed_is_a_plan_in_whatever_order_the_cases_come(
    images: list[int], seed: int, random: object
) -> None:
    cases = cases_of(images)
    plan = plan_folds(cases, 2, seed)
    random.shuffle(cases)  # type: ignore[attr-defined]
    assert plan_folds(cases, 2, seed) == plan


def test_seeds_give_different_plans() -> None:
    cases = cases_of([1] * 20)
    plans = {tuple(sorted(plan_folds(cases, 4, seed).folds.items())) for seed in range(5)}
    assert len(plans) == 5


def test_single_images_give_folds_of_one_size() -> None:
    plan = plan_folds(cases_of([1] * 23), 5, seed=0)
    assert sorted(Counter(plan.folds.values()).values()) == [4, 4, 5, 5, 5]


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(SettingsError, match="at most 2 folds") as caught:
        plan_folds(cases_of([9, 9]), 3, seed=0)
    assert caught.value.got == "3"


def stated(*held_out: set[str]) -> list[StatedFold]:
    everyone = frozenset().union(*held_out)
    return [StatedFold(everyone - fold, frozenset(fold)) for fold in held_out]


class TestStatedPlan:
    CASES = cases_of([1, 1, 1, 1])
    A, B, C, D = (case.id for case in CASES)

    def test_folds_that_hold_each_case_out_once_are_taken(self) -> None:
        plan = stated_plan(self.CASES, stated({self.A, self.C}, {self.B, self.D}), seed=7)
        assert plan is not None
        assert (plan.count, plan.seed) == (2, 7)
        assert plan.folds == {self.A: 0, self.B: 1, self.C: 0, self.D: 1}

    def test_cases_of_another_split_do_not_matter(self) -> None:
        folds = stated({self.A, self.C}, {self.B, self.D, "elsewhere"}, {"also elsewhere"})
        plan = stated_plan(self.CASES, folds, seed=0)
        assert plan is not None
        assert plan.count == 2
        assert sorted(plan.folds) == [self.A, self.B, self.C, self.D]

    @pytest.mark.parametrize(
        "held_out",
        [
            [{A}, {B, C}],  # D never
            [{A, B}, {B, C, D}],  # B twice
            [{A, B, C, D}],
            [{A, B, C, D}, {"elsewhere"}],
            [],
        ],
        ids=["never", "twice", "one fold", "one fold here", "none"],
    )
    def test_others_are_not(self, held_out: list[set[str]]) -> None:
        assert stated_plan(self.CASES, stated(*held_out), seed=0) is None

    def test_folds_that_split_a_patient_are_not(self) -> None:
        cases = cases_of([2, 2])
        first, second, third, fourth = (case.id for case in cases)
        assert stated_plan(cases, stated({first, third}, {second, fourth}), seed=0) is None
        assert stated_plan(cases, stated({first, second}, {third, fourth}), seed=0) is not None
