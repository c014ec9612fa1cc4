"""Quantiles of few measurements."""

import pytest

from autobatch.intervals import student_975


@pytest.mark.parametrize(
    ("freedom", "value"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042), (1000, 1.962)],
)
def test_students_quantile(freedom, value):
    assert student_975(freedom) == pytest.approx(value, rel=0.008)
