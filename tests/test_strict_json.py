import json
import math

from autobatch.strict_json import dumps


def test_what_is_not_finite_becomes_null():
    value = {"a": math.inf, "b": [math.nan, (1.5, -math.inf)], "c": {"d": True, "e": "NaN", "f": None}}

    assert json.loads(dumps(value)) == {"a": None, "b": [None, [1.5, None]], "c": {"d": True, "e": "NaN", "f": None}}
