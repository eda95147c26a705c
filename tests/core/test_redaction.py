"""No secret is seen where it stands for itself, and ordinary words are left alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ibutsu_core.redaction import ANYWHERE, AS_A_WORD, HIDDEN, redactor

CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="*")
TEXTS = st.text(CHARACTERS, max_size=20)


@given(st.text(CHARACTERS, min_size=ANYWHERE, max_size=12), TEXTS, TEXTS)
def test_a_long_secret_is_hidden_anywhere(secret: str, before: str, after: str) -> None:
    shown = redactor([secret])(f"{before}{secret}{after}")
    assert HIDDEN in shown
    assert secret not in shown


@given(st.text(CHARACTERS, min_size=AS_A_WORD, max_size=ANYWHERE - 1), st.sampled_from(" :@/'\"=,;\n"))
@example("a b!", " ")
@example("!a b", "'")
def test_a_short_secret_is_hidden_as_a_word(secret: str, beside: str) -> None:
    shown = redactor([secret])(f"x{beside}{secret}{beside}x")
    assert shown == f"x{beside}{HIDDEN}{beside}x"


@given(st.text(CHARACTERS, min_size=1, max_size=12))
def test_every_secret_is_hidden_in_a_url(secret: str) -> None:
    assert redactor([secret])(f"https://user:{secret}@host") == f"https://user:{HIDDEN}@host"


@pytest.mark.parametrize(("secret", "text"), [("beat", "a heartbeat of beats"), ("a", "a: a @ a"), ("", "a text:@b")])
def test_ordinary_words_are_left_alone(secret: str, text: str) -> None:
    assert redactor([secret])(text) == text


@given(st.lists(st.text("ab", min_size=AS_A_WORD, max_size=12), max_size=5), st.text("ab ", max_size=60))
def test_of_secrets_within_each_other_none_is_left_as_a_word(secrets: list[str], text: str) -> None:
    shown = redactor(secrets)(text)
    left = [secret for secret in secrets if re.search(rf"(?<!\w){secret}(?!\w)", shown)]
    assert left == []
