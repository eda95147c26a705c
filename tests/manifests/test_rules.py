"""The project's invariants hold for each overlay with each component, and each of them can fail."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from manifest_broken import BROKEN
from manifest_rules import RULES, Rule
from manifest_tree import Tree


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_holds_for_every_rendering(rule: Rule, trees: dict[str, Tree]) -> None:
    assert {name: problems for name, tree in trees.items() if (problems := list(rule(tree)))} == {}


@pytest.mark.parametrize(
    ("rule", "rendering", "damage"), BROKEN, ids=[f"{case[0].__name__}-{i}" for i, case in enumerate(BROKEN)]
)
def test_a_rule_fails_for_a_tree_that_breaks_it(
    rule: Rule, rendering: str, damage: Callable[[Tree], object], trees: dict[str, Tree]
) -> None:
    broken = Tree(copy.deepcopy(trees[rendering].objects))
    damage(broken)
    assert list(rule(broken))


def test_every_rule_has_a_tree_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BROKEN} == {*RULES}
