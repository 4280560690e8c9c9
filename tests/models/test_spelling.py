from models.spelling import did_you_mean

KNOWN = ["learner", "dataset", "split", "seed", "status"]


def test_the_nearest_comes_first():
    assert did_you_mean("sed", KNOWN, "") == "did you mean 'seed'?"
    assert did_you_mean("stat", ["start", "states", "state"], "") == "did you mean 'state' or 'start' or 'states'?"


def test_what_is_much_less_near_than_the_nearest_is_left_out():
    assert did_you_mean("Europe/Pariss", ["Europe/Warsaw", "Europe/Paris"], "") == "did you mean 'Europe/Paris'?"


def test_what_is_near_nothing_is_told_what_there_is():
    assert did_you_mean("zzz", KNOWN, "there are five") == "there are five"
    assert did_you_mean("zzz", [], "there are none") == "there are none"


def test_a_long_text_costs_no_more_than_a_line():
    assert did_you_mean("learner" + "x" * 10**7, ["learner" + "x" * 73, "y" * 10**5], "") != ""
