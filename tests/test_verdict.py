from autobatch.verdict import Kind, Verdict


def test_the_codes_own_words_are_in_the_hint():
    evidence = {"exception": {"type": "builtins.ValueError", "message": "two\nlines."}}

    hint = Verdict(Kind.USER_ERROR, evidence=evidence, flags=("fails_under_test",)).hint

    assert hint.endswith("ValueError: two lines. By itself it does not fail.")


def test_an_error_of_ours_says_itself_what_to_do():
    evidence = {"exception": {"type": "autobatch.errors.UsageError", "message": "It is so.", "do": "Do this."}}

    assert Verdict(Kind.USER_ERROR, evidence=evidence).hint == "It is so. Do this."


def test_another_kind_keeps_its_hint_and_flags_survive():
    verdict = Verdict(Kind.OK, evidence={"exception": {"message": "x"}}, flags=("worst_case_unknown",))

    assert verdict.hint.startswith("It ran. ")
    assert "so is the longest" in verdict.hint
    assert Verdict.from_dict(verdict.to_dict()) == verdict
