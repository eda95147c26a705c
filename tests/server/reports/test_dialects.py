"""One small file of each tool that writes JUnit XML, as the tool writes it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

DIALECTS = Path(__file__).parent / "dialects"

PASSED, FAILED, ERROR, SKIPPED, XFAILED = "passed", "failed", "error", "skipped", "xfailed"

# The test ids in order, with their outcomes, and the run's duration.
EXPECTED: dict[str, tuple[list[tuple[str, str]], float]] = {
    "bazel": ([("shop/cart_test", ERROR)], 3),
    "catch2": (
        [
            ("global.sums/floats 1.5", PASSED),
            ("global.is empty", FAILED),
            ("global.throws", ERROR),
            ("global.later", SKIPPED),
            ("global.last", PASSED),
        ],
        0.125,
    ),
    "ctest": (
        [("parser.unit.parser", PASSED), ("slow.slow", FAILED), ("gpu.gpu", SKIPPED), ("old.old", SKIPPED)],
        2,
    ),
    "cypress": ([("shows the form.login shows the form", FAILED), ("greets.login greets", SKIPPED)], 4.25),
    "failsafe": ([("CheckoutIT.pays", ERROR), ("CheckoutIT.refunds", PASSED)], 3.5),
    "googletest": (
        [
            ("Cart.Adds", PASSED),
            ("Prices/Cart.Sums/0", FAILED),
            ("Cart.DISABLED_Pays", SKIPPED),
            ("Cart.Refunds", SKIPPED),
        ],
        0.5,
    ),
    "gotestsum": (
        [
            ("org/shop/cart.TestAdd", PASSED),
            ("org/shop/cart.TestAdd/two.books", FAILED),
            ("org/shop/cart.TestPay", SKIPPED),
            ("TestMain", PASSED),
        ],
        1.262,
    ),
    "gradle": (
        [
            ("ParserTest.parsesDate()", PASSED),
            ("ParserTest.parsesTime()", FAILED),
            ("ParserTest.parsesZone()", SKIPPED),
        ],
        0.05,
    ),
    "jest": (
        [
            ("cart adds a book.cart adds a book", PASSED),
            ("2 removes.cart v1.2 removes", FAILED),
            ("cart pays.cart pays", SKIPPED),
        ],
        1.9,
    ),
    "mocha": ([("adds a book.Cart adds a book", PASSED), ("is empty.Cart is empty", FAILED)], 0.015),
    "nextest": (
        [
            ("shop::cart.cart::tests::adds", PASSED),
            ("shop::cart.cart::tests::wobbles", PASSED),
            ("shop::cart.cart::tests::pays", FAILED),
        ],
        0.75,
    ),
    "nunit": (
        [("CartTests.AddsBook", PASSED), ('CartTests.Sum(1.5d,"a.b")', FAILED), ("CartTests.Pays", SKIPPED)],
        0.35,
    ),
    "phpunit": (
        [
            ("CartTest.testEmpty", FAILED),
            ('CartTest.testSum with data set "two.books"', PASSED),
            ("CartTest.testSum with data set #1", ERROR),
            ("CartTest.testLater", SKIPPED),
        ],
        0.016,
    ),
    "playwright": (
        [
            ("ts.cart \u203a adds a book", PASSED),
            ("ts.cart \u203a pays", FAILED),
            ("ts.cart \u203a later", SKIPPED),
            ("ts.cart \u203a wobbles", PASSED),
        ],
        12.5,
    ),
    "pytest": (
        [
            ("TestCart.test_total[1.5-2.25]", PASSED),
            ("test_cart.test_empty", FAILED),
            ("test_cart.test_broken_fixture", ERROR),
            ("test_cart.test_later", SKIPPED),
            ("test_cart.test_known", XFAILED),
        ],
        0.017,
    ),
    "robot": (
        [("Cart.Täglich: ein Buch. Und noch eins", PASSED), ("Cart.Pay", FAILED), ("Cart.Refund", SKIPPED)],
        0.75,
    ),
    "surefire": (
        [
            ("CartTest.addsBook", PASSED),
            ("CartTest.removesBook", FAILED),
            ("CartTest.paysLater", SKIPPED),
            ("CartTest.{int, String}[2]", PASSED),
        ],
        1234.5,
    ),
    "xunit": ([('CartTests.Größe("ß")', PASSED), ("CartTests.Empty", FAILED)], 0.25),
}


@pytest.fixture
def dialect(read: Any) -> Any:
    return lambda name: read((DIALECTS / f"{name}.xml").read_bytes(), f"{name}.xml")


def test_every_sample_is_expected() -> None:
    assert sorted(EXPECTED) == sorted(path.stem for path in DIALECTS.iterdir())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_tests_outcomes_and_duration_of_a_dialect(name: str, dialect: Any) -> None:
    tests, duration = EXPECTED[name]
    report = dialect(name)
    assert report.format == "junit"
    assert [(result.test_id, result.result) for result in report.results] == tests
    # A root without a time has the sum of its tests.
    root_has_time = name not in {"bazel", "catch2", "phpunit", "pytest", "xunit"}
    assert report.run.duration == pytest.approx(duration if root_has_time else sum(r.duration for r in report.results))


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_is_odd_in_a_dialect_is_remarked(name: str, dialect: Any) -> None:
    remarks = {
        # Catch2 counts assertions.
        "catch2": (
            'The suite "cart_tests" in line 3 claims 7 tests, 2 failures; its test cases are 5 tests, 1 failure.',
        ),
        "playwright": ("4 characters that XML does not allow were replaced by U+FFFD.",),
    }
    assert dialect(name).run.notes == remarks.get(name, ())


def test_pytest(dialect: Any) -> None:
    report = dialect("pytest")
    first = report.results[0]
    assert first.metadata == {
        "run": str(report.run.id),
        "fspath": "tests/shop/test_cart",
        "arch": "arm64",
        "requirement": "SHOP-12",
    }
    assert first.start_time == dt.datetime(2026, 3, 1, 8, 15, 0, 250000, dt.UTC)
    assert first.source == "pytest"
    assert report.texts("test_cart.test_empty") == {
        "traceback.log": "def test_empty():\n>       assert len(cart) == 0\nE       AssertionError: assert 1 == 0",
        "system-out.log": "--- stdout ---\nadding a book",
    }
    assert report.one("test_cart.test_later").metadata["skip_reason"] == "/src/tests/shop/test_cart.py:20: not yet"
    assert report.one("test_cart.test_known").metadata["xfail_reason"] == "bug 7"


def test_surefire_keeps_what_reruns_said(dialect: Any) -> None:
    report = dialect("surefire")
    flaky, failed = report.results[:2]
    assert flaky.duration == 1230.25
    assert flaky.metadata["reruns"] == 1
    assert flaky.metadata["java.version"] == "21.0.2"
    assert flaky.metadata["fspath"] == "com/acme/shop"
    assert list(report.texts(flaky.test_id)) == ["reruns.log"]
    assert "CartTest.java:14" in report.texts(flaky.test_id)["reruns.log"]
    assert "first try" in report.texts(flaky.test_id)["reruns.log"]
    texts = report.texts(failed.test_id)
    assert texts["traceback.log"].endswith("(CartTest.java:22)\n")
    assert texts["system-err.log"] == "WARN cart <1> & co"
    assert failed.metadata["exception_name"] == "java.lang.AssertionError"
    assert "cart is still not empty" in texts["reruns.log"]


def test_the_output_of_a_suite_belongs_to_the_run(dialect: Any) -> None:
    assert dialect("gradle").run_files == [("system-out.log", b"parser ready\n")]
    ((name, data),) = dialect("bazel").run_files
    assert name == "system-out.log"
    assert b"assertion failed" in data


def test_a_message_is_kept_where_the_text_lacks_it(dialect: Any) -> None:
    assert dialect("nunit").results[1].metadata["message"] == "  Expected: 2\r\n  But was:  1\r\n"
    assert dialect("ctest").texts("slow.slow")["traceback.log"] == "Timeout"
    assert dialect("robot").texts("Cart.Pay")["traceback.log"] == (
        "AssertionError: No bank\n\nAlso teardown failed:\nNo till"
    )


def test_several_failures_of_a_test_are_one_artifact(dialect: Any) -> None:
    text = dialect("jest").texts("2 removes.cart v1.2 removes")["traceback.log"]
    assert text.startswith("Error: expect(received)")
    assert text.endswith("(/src/cart.test.js:9:21)\n\nError: second expectation")


def test_phpunit_gives_files_and_lines(dialect: Any) -> None:
    inner = dialect("phpunit").results[1]
    assert inner.metadata["fspath"] == "/src/tests/CartTest.php"
    assert inner.metadata["line"] == "20"
    assert inner.source == "Acme\\Tests\\CartTest::testSum"


def test_playwright_names_its_attachments(dialect: Any) -> None:
    report = dialect("playwright")
    failed = report.one("ts.cart \u203a pays")
    assert failed.metadata["attachments"] == [
        "cart-pays-chromium/test-failed-1.png",
        "cart-pays-chromium/trace [1].zip",
    ]
    assert "\ufffd[2mexpect(" in report.texts(failed.test_id)["traceback.log"]


def test_a_clocks_zero_is_no_time(dialect: Any) -> None:
    disabled = dialect("googletest").one("Cart.DISABLED_Pays")
    assert disabled.start_time == dt.datetime(2026, 3, 1, 9, 15, 30, 500000, dt.UTC)


def test_properties_that_come_last_reach_the_results(dialect: Any) -> None:
    report = dialect("robot")
    assert [result.metadata["Version"] for result in report.results] == ["7.0"] * 3
    assert report.run.metadata == {}
