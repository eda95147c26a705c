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
    "bazel-java": ([("CartTest.addsBook", PASSED), ("CartTest.removesBook", FAILED)], 0.05),
    "behave": (
        [
            ("Cart.Adds a book -- @1.1 ", PASSED),
            ("Cart.Is empty", FAILED),
            ("Cart.Pays", ERROR),
            ("Cart.Refunds", SKIPPED),
        ],
        0.25,
    ),
    "bun": (
        [
            ("opens", PASSED),
            ("cart.adds a \ufffd[1mbook", FAILED),
            ("cart.pays", SKIPPED),
            ("cart.refunds", SKIPPED),
        ],
        0.061,
    ),
    "catch2": (
        [
            ("global.sums/floats 1.5", PASSED),
            ("Cart.is empty", FAILED),
            ("global.throws", ERROR),
            ("global.may fail", SKIPPED),
            ("global.later", SKIPPED),
        ],
        0.125,
    ),
    "ctest": (
        [
            ("gpu.gpu", SKIPPED),
            ("old.old", SKIPPED),
            ("slow.slow", FAILED),
            ("parser.unit.parser", PASSED),
            ("wild.wild", FAILED),
        ],
        2,
    ),
    "cucumber": (
        [("Cart.Adds a book", PASSED), ("Cart.Pays - by card - Example #1.1", FAILED), ("Cart.Refunds", SKIPPED)],
        0.049,
    ),
    "cypress": ([("shows the form.login shows the form", FAILED)], 4.25),
    "dart": (
        [("cart.adds a book", PASSED), ("cart.is empty", FAILED), ("cart.pays", ERROR), ("cart.refunds", SKIPPED)],
        0.043,
    ),
    "deno": ([("adds a book", PASSED), ("removes", FAILED), ("pays", SKIPPED)], 0.052),
    "dotnet": ([("CartTests.AddsBook", PASSED), ("CartTests.Empty", FAILED), ("CartTests.Pays", SKIPPED)], 0.25),
    "failsafe": ([("CheckoutIT.pays", ERROR), ("CheckoutIT.refunds", PASSED), ("CheckoutIT", PASSED)], 3.5),
    "go-junit-report": (
        [
            ("org/shop/cart.TestAdd", FAILED),
            ("org/shop/cart.TestPay", SKIPPED),
            ("org/shop/cart.TestEmpty", PASSED),
            ("org/shop/till.[build failed]", ERROR),
        ],
        0.012,
    ),
    "googletest": (
        [
            ("Cart.Adds", PASSED),
            ("Cart.DISABLED_Pays", SKIPPED),
            ("Cart.Refunds", SKIPPED),
            ("Prices/Cart.Sums/0", FAILED),
        ],
        0.5,
    ),
    "googletest-1.10": (
        [("Cart.Adds", PASSED), ("Cart.Refunds", SKIPPED), ("Cart.DISABLED_Pays", SKIPPED)],
        0.25,
    ),
    "gotestsum": (
        [
            ("org/shop/cart.TestAdd/two.books", FAILED),
            ("org/shop/cart.TestAdd", FAILED),
            ("org/shop/cart.TestPay", SKIPPED),
            ("org/shop/cart.TestEmpty", PASSED),
            ("org/shop.TestShop", PASSED),
        ],
        1.262,
    ),
    "gotestsum-testmain": ([("TestMain", FAILED)], 0.051),
    "gradle": (
        [
            ("ParserTest.parsesDate()", PASSED),
            ("ParserTest.parsesTime()", FAILED),
            ("ParserTest.parsesZone()", SKIPPED),
        ],
        0.05,
    ),
    "gradle-reruns": ([("TillTest.opens()", PASSED), ("TillTest.shuts()", SKIPPED)], 0.05),
    "jest": (
        [
            ("cart adds a book.cart adds a book", PASSED),
            ("2 removes.cart v1.2 removes", FAILED),
            ("cart pays.cart pays", SKIPPED),
        ],
        1.9,
    ),
    "jest-suite-error": ([("Test suite failed to run.src/till.test.js", ERROR)], 0.9),
    "k6": ([("http_req_duration - p(95)<200", FAILED), ("http_req_failed - rate<0.01", PASSED)], 0),
    "karma": ([("cart.cart adds a book", PASSED), ("cart.cart removes", FAILED), ("cart.cart pays", SKIPPED)], 0.016),
    "mocha": (
        [
            ("adds a book.Cart adds a book", PASSED),
            ("is empty.Cart is empty", FAILED),
            ("pays.Cart pays", SKIPPED),
        ],
        0.015,
    ),
    "nextest": (
        [
            ("@setup-script:open-till.open-till", PASSED),
            ("shop::cart.cart::tests::adds", PASSED),
            ("shop::cart.cart::tests::wobbles", PASSED),
            ("shop::cart.cart::tests::pays", FAILED),
            ("shop::cart.cart::tests::later", SKIPPED),
        ],
        0.75,
    ),
    "node-test": (
        [
            ("test.opens", PASSED),
            ("test.adds a book", PASSED),
            ("test.adds no book", PASSED),
            ("test.says so", FAILED),
            ("test.pays", SKIPPED),
            ("test.removes", PASSED),
        ],
        0.0076,
    ),
    "nunit": (
        [
            ("CartTests.AddsBook", PASSED),
            ('CartTests.Sum(1.5d,"a.b")', FAILED),
            ("CartTests.Pays", SKIPPED),
            ("CartTests.Refunds", SKIPPED),
        ],
        0.3521,
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
            ("ts.cart \u203a adds a book", ERROR),
        ],
        12.5,
    ),
    "pytest": (
        [
            ("tests.shop.test_till", ERROR),
            ("TestCart.test_total[1.5-2.25]", PASSED),
            ("test_cart.test_empty", FAILED),
            ("test_cart.test_empty", ERROR),
            ("test_cart.test_broken_fixture", ERROR),
            ("test_cart.test_later", SKIPPED),
            ("test_cart.test_no_bank", ERROR),
            ("test_cart.test_known", XFAILED),
            ("test_cart.test_strict", FAILED),
        ],
        0.018,
    ),
    "pytest-xunit1": ([("test_cart.test_total", PASSED)], 0.004),
    "robot": (
        [
            ("Cart.Täglich: ein Buch. Und noch eins", PASSED),
            ("Cart.Pay", FAILED),
            ("Cart.Refund", SKIPPED),
            ("Till.Open", PASSED),
        ],
        0.751,
    ),
    "rspec": (
        [("cart_spec.Cart adds a book", PASSED), ("cart_spec.Cart is empty", FAILED), ("cart_spec.Cart pays", SKIPPED)],
        0.025,
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
    "surefire-2": ([("SlowTest.waits", PASSED), ("SlowTest.asks", PASSED)], 1234.5),
    "testng": (
        [
            ("CartTest.addsBook", PASSED),
            ("CartTest.isEmpty", FAILED),
            ("CartTest.pays", ERROR),
            ("CartTest.refunds", SKIPPED),
        ],
        0.054,
    ),
    "testng-suite": ([("CartTest.addsBook", PASSED), ("CartTest.refunds", SKIPPED)], 0.03),
    "unittest": (
        [
            ("CartTest.test_adds", PASSED),
            ("CartTest.test_sum (i=1)", FAILED),
            ("CartTest.test_pays", SKIPPED),
            ("CartTest.test_known", SKIPPED),
            ("CartTest.test_mended", ERROR),
        ],
        0.014,
    ),
    "vitest": (
        [
            ("ts.cart > adds a book", PASSED),
            ("ts.cart > removes", FAILED),
            ("ts.cart > pays", SKIPPED),
            ("vitest unhandled errors.Unhandled Rejection: no bank", ERROR),
        ],
        0.85,
    ),
    "xcbeautify": (
        [("CartTests.testAddsBook", PASSED), ("CartTests.testIsEmpty", FAILED), ("CartTests.testPays", SKIPPED)],
        0.005,
    ),
    "xunit": (
        [
            ('CartTests.Acme.Shop.Tests.CartTests.Größe(word: "ß")', PASSED),
            ("CartTests.Acme.Shop.Tests.CartTests.Empty", FAILED),
            ("CartTests.Acme.Shop.Tests.CartTests.Pays", SKIPPED),
        ],
        0.25,
    ),
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
    assert report.run.duration == pytest.approx(duration)


# What is remarked. Where a dialect is not here, its suites count as we do, and nothing is.
REMARKS: dict[str, list[tuple[str, str, str]]] = {
    # A suite's tests are counted once more by the suite around it, which stands beside it and has none.
    "bazel-java": [
        ('suite "com.acme.shop.AllTests" in line 3', "2 tests, 1 failure", "0 tests, 0 failures"),
    ],
    # Assertions are counted.
    "catch2": [
        ('suite "cart_tests" in line 3', "7 tests, 2 failures, 1 skipped", "5 tests, 1 failure, 2 skipped"),
    ],
    # Pending tests are counted, but written only with `includePending`.
    "cypress": [
        ('suite "login" in line 5', "2 tests", "1 test"),
        ('suite "Mocha Tests" in line 2', "2 tests, 1 skipped", "1 test, 0 skipped"),
    ],
    # Neither counts the test case that it makes up for a failure outside of the tests.
    "gotestsum-testmain": [
        ('suite "example.org/shop/till" in line 3', "0 tests, 0 failures", "1 test, 1 failure"),
        ("suite in line 2", "0 tests", "1 test"),
    ],
    "jest-suite-error": [
        ('suite "src/till.test.js" in line 3', "0 tests", "1 test"),
        ('suite "jest tests" in line 2', "0 tests", "1 test"),
    ],
    # Ignored tests are written, but not counted.
    "testng-suite": [('suite "Shop" in line 3', "1 test", "2 tests")],
}
REPLACED = {
    "bun": "1 character that XML does not allow was replaced by U+FFFD.",
    "node-test": "6 characters that XML does not allow were replaced by U+FFFD.",
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_is_odd_in_a_dialect_is_remarked(name: str, dialect: Any) -> None:
    notes = [
        f"The {suite} claims {claimed}; its test cases are {found}." for suite, claimed, found in REMARKS.get(name, [])
    ]
    notes += [REPLACED[name]] if name in REPLACED else []
    assert list(dialect(name).run.notes) == notes


# The start of each dialect's run; those that name no time start when they are read.
STARTS = {
    "bazel-java": "08:15:30.125",
    "behave": "09:15:30.250",
    "catch2": "09:15:30",
    "ctest": "09:15:30",
    "cucumber": "08:15:30.125",
    "cypress": "08:15:30",
    "dart": "08:15:30",
    "dotnet": "08:15:30",
    "go-junit-report": "08:00:00",
    "googletest": "09:15:30.500",
    "googletest-1.10": "09:15:30",
    "gotestsum": "08:00:00",
    "gotestsum-testmain": "08:00:00",
    "gradle": "08:00:00.123",
    "gradle-reruns": "08:00:00.123",
    "jest": "08:15:30",
    "jest-suite-error": "08:15:30",
    "karma": "08:15:30",
    "mocha": "08:15:30",
    "nextest": "08:15:30.500",
    "node-test": "08:15:30.125",
    "nunit": "08:15:30",
    "playwright": "08:15:30.125",
    "pytest": "08:15:00.250",
    "pytest-xunit1": "09:15:00.250",
    "robot": "09:15:30.000001",
    "rspec": "08:15:30",
    "surefire": "08:15:30.125",
    "testng": "08:15:30",
    "testng-suite": "09:15:30",
    "unittest": "09:15:31",
    "vitest": "08:15:30.125",
    "xunit": "08:15:30.123456",
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_start_of_a_dialects_run(name: str, dialect: Any) -> None:
    start = f"2026-03-01T{STARTS[name]}" if name in STARTS else "2026-04-01T12:00:00"
    assert dialect(name).run.start_time == dt.datetime.fromisoformat(start).replace(tzinfo=dt.UTC)


def test_pytest(dialect: Any) -> None:
    report = dialect("pytest")
    collection, first, failed, teardown = report.results[:4]
    assert collection.metadata["message"] == "collection failure"
    assert first.metadata == {
        "run": str(report.run.id),
        "fspath": "tests/shop/test_cart",
        "arch": "arm64",
        "requirement": "SHOP-12",
    }
    assert first.start_time == dt.datetime(2026, 3, 1, 8, 15, 0, 250000, dt.UTC)
    assert first.source == "pytest"
    assert [name for name, _ in report.files[failed.id]] == ["traceback.log", "system-out.log"]
    assert report.files[failed.id][1][1].endswith(
        b" Captured Out ---------------------------------\nadding a #x1B[1mbook\n"
    )
    assert report.files[teardown.id] == [("traceback.log", b"E   OSError: no disk")]
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
    assert texts["system-err.log"] == "WARN cart <1> & co ]]> &amp#27;[0m"
    assert failed.metadata["exception_name"] == "java.lang.AssertionError"
    assert "again" in texts["reruns.log"]
    assert report.results[3].duration == 0.001


def test_thousands_are_read(dialect: Any) -> None:
    assert dialect("surefire-2").results[0].duration == 1234.25


def test_the_output_of_a_suite_belongs_to_the_run(dialect: Any) -> None:
    assert dialect("gradle").run_files == [("system-out.log", b"parser ready\n")]
    ((name, data),) = dialect("bazel").run_files
    assert name == "system-out.log"
    assert b"assertion failed" in data
    assert dialect("dart").run_files == [("system-out.log", b"till is open"), ("system-out.log", b"till is shut")]
    assert [name for name, _ in dialect("dotnet").run_files] == ["system-out.log", "system-err.log"]


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
    for name, test_id, words in (
        ("gradle", "ParserTest.parsesTime()", "till is open"),
        ("karma", "cart.cart removes", "Expected 2 to be 0."),
        ("googletest", "Prices/Cart.Sums/0", "Value of: paid"),
        ("catch2", "Cart.is empty", "REQUIRE( cart.empty() )"),
        ("vitest", "ts.cart > removes", "expected 2 to be +0"),
    ):
        assert words in dialect(name).texts(test_id)["traceback.log"]


def test_the_steps_of_a_scenario_are_its_output(dialect: Any) -> None:
    assert "Given a cart....." in dialect("cucumber").texts("Cart.Adds a book")["system-out.log"]
    assert "Given a cart ... passed in" in dialect("behave").texts("Cart.Adds a book -- @1.1 ")["system-out.log"]


def test_files_and_lines(dialect: Any) -> None:
    inner = dialect("phpunit").results[1]
    assert inner.metadata["fspath"] == "/src/tests/CartTest.php"
    assert inner.metadata["line"] == "20"
    assert inner.source == "Acme\\Tests\\CartTest::testSum"
    for name, path, line in (
        ("pytest-xunit1", "tests/shop/test_cart.py", "11"),
        ("unittest", "tests/test_cart.py", "8"),
        ("bun", "test/cart.test.ts", "3"),
        ("dotnet", "C:\\src\\CartTests.cs", "11"),
        ("googletest", "/src/cart_test.cc", "7"),
    ):
        metadata = dialect(name).results[0].metadata
        assert (metadata["fspath"], metadata["line"]) == (path, line)


@pytest.mark.parametrize(
    ("name", "index", "key", "value"),
    [
        ("bun", 1, "commit", "8c1f2e"),
        ("ctest", 0, "skip_reason", "SKIP_RETURN_CODE=77"),
        ("ctest", 3, "cmake_labels", "unit;fast"),
        ("cucumber", 2, "skip_reason", "no till"),
        ("dart", 0, "platform", "vm"),
        ("deno", 0, "step[passed]", "opens"),
        ("deno", 0, "line", "3"),
        ("go-junit-report", 0, "coverage.statements.pct", "81.50"),
        ("googletest", 2, "skip_reason", "/src/cart_test.cc:26\nno bank"),
        ("gotestsum", 0, "requirement", "SHOP-12"),
        ("gradle-reruns", 0, "reruns", 1),
        ("nextest", 0, "output-env:TILL", "4"),
        ("nextest", 2, "reruns", 1),
        ("nextest", 3, "exception_name", "test failure with exit code 101"),
        ("playwright", 0, "issue", "SHOP-7"),
        ("playwright", 3, "reruns", 1),
        ("rspec", 0, "seed", "4291"),
        ("rspec", 0, "fspath", "./spec/cart_spec.rb"),
        ("unittest", 3, "skip_reason", "Traceback (most recent call last):\nAssertionError: bug 7"),
        ("vitest", 0, "issue", "SHOP-7"),
        ("xunit", 2, "skip_reason", "no bank"),
    ],
)
def test_what_a_result_is_told(name: str, index: int, key: str, value: Any, dialect: Any) -> None:
    assert dialect(name).results[index].metadata[key] == value


def test_attachments_are_named(dialect: Any) -> None:
    report = dialect("playwright")
    assert report.one("ts.cart \u203a pays").metadata["attachments"] == [
        "cart-pays-chromium/test-failed-1.png",
        "cart-pays-chromium/trace [1].zip",
        "cart-pays-chromium-retry1/trace.zip",
    ]
    assert dialect("mocha").results[1].metadata["attachments"] == ["shots/cart.png", "shots/till.png"]
    assert dialect("dotnet").results[0].metadata["attachments"] == ["C:\\src\\TestResults\\cart.png"]
    assert dialect("surefire").results[0].metadata["attachments"] == ["target/cart-1.png"]


def test_raw_control_characters_are_replaced(dialect: Any) -> None:
    text = dialect("node-test").texts("test.says so")["traceback.log"]
    assert "Error: said \ufffd[31mnothing\ufffd[39m\n" in text


def test_a_clocks_zero_is_no_time(dialect: Any) -> None:
    disabled = dialect("googletest").one("Cart.DISABLED_Pays")
    assert disabled.start_time == dt.datetime(2026, 3, 1, 9, 15, 30, 500000, dt.UTC)


def test_the_properties_of_root_suite_and_test_meet_in_the_result(dialect: Any) -> None:
    report = dialect("googletest")
    failed = report.one("Prices/Cart.Sums/0").metadata
    assert (failed["build"], failed["currency"], "till" in failed) == ("4291", "EUR", False)
    assert report.results[0].metadata["till"] == "2"
    assert report.run.metadata == {"build": "4291"}
    assert dialect("dotnet").results[0].metadata["Category"] == "smoke"


def test_properties_that_come_last_reach_the_results(dialect: Any) -> None:
    report = dialect("robot")
    inner, other = report.one("Cart.Pay").metadata, report.one("Till.Open").metadata
    assert (inner["Documentation"], inner["Version"], inner["Stage"]) == ("What the cart can do.", "7.0", "test")
    assert (other["Documentation"], other["Stage"], "Version" in other) == ("The shop.", "test", False)
    assert report.run.metadata == {"Documentation": "The shop.", "Stage": "test"}


SUMMARY = b"""<?xml version="1.0" encoding="UTF-8"?>
<failsafe-summary timeout="false"><completed>2</completed><errors>0</errors><failures>0</failures>
<skipped>0</skipped><failureMessage/></failsafe-summary>"""


def test_the_summary_of_failsafe_is_no_report(read: Any, refuse: Any, zipped: Any) -> None:
    assert "outermost element is <failsafe-summary>" in refuse(SUMMARY, "failsafe-summary.xml").reason
    sample = (DIALECTS / "failsafe.xml").read_bytes()
    report = read(zipped([("failsafe-summary.xml", SUMMARY), ("TEST-com.acme.shop.CheckoutIT.xml", sample)]))
    assert len(report.results) == 3
    assert report.run.notes == ("1 file of the upload is no JUnit XML and was left out: failsafe-summary.xml.",)
