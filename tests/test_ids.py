"""Feature ids as they are typed."""

from __future__ import annotations

import pytest

from tdb.errors import StateError, TdbError
from tdb.ids import early_ids, ids_of

GROUPS = {"dead": [1, 4], "winner": []}


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["3", "17", "42"], [3, 17, 42]),
        (["3,17,", "42"], [3, 17, 42]),
        (["0:64:16"], [0, 16, 32, 48]),
        ([":3"], [0, 1, 2]),
        (["60:"], [60, 61, 62, 63]),
        (["-2:"], [62, 63]),
        (["@dead", "4", "2"], [1, 4, 2]),
        (["@winner"], []),
        (["all"], list(range(64))),
    ],
)
def test_ids(words: list[str], ids: list[int]) -> None:
    assert ids_of(words, 64, GROUPS) == ids


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("999", "no feature 999: features are 0..63"),
        ("64", "no feature 64: features are 0..63"),
        ("0:99", "no feature 99: features are 0..63"),
        ("@lost", "no group '@lost'. Groups: @dead, @winner, all"),
        ("x", "'x' is no feature: features are 0..63, A:B[:S], @dead and the like, or all"),
        ("1.5", "'1.5' is no feature: features are 0..63, A:B[:S], @dead and the like, or all"),
        ("0:9:0", "'0:9:0' steps by 0. A range is A:B or A:B:S, as in numpy"),
    ],
)
def test_what_is_no_feature(word: str, message: str) -> None:
    with pytest.raises(TdbError) as caught:
        ids_of([word], 64, GROUPS)
    assert str(caught.value) == message


def test_before_the_features_are_counted_they_are_named_by_number() -> None:
    assert early_ids(["0:64:16,3", ":2", "@watch"], {"watch": [7]}) == [0, 16, 32, 48, 3, 1, 7]
    for word in ("all", "8:", ":", "::2", "-2:", "0:-1", "@dead"):
        with pytest.raises(StateError, match=f"which features '{word}' are is known from the first step on"):
            early_ids(["3", word], {"watch": []})
    with pytest.raises(TdbError, match="no feature 2000000000"):
        early_ids(["0:2000000000"], {})
