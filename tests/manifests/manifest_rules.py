"""All the rules that every rendering keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import manifest_environment
import manifest_network
import manifest_pods
from manifest_tree import Tree

Rule = Callable[[Tree], Iterator[str]]

RULES: tuple[Rule, ...] = (*manifest_environment.RULES, *manifest_pods.RULES, *manifest_network.RULES)
