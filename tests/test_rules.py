"""Quotas and budgets as plain data: what is read, whose rule counts, and what is wrong at once."""

import pytest

from gpubox.rules import RuleError, parse_rules, rule_for, rules_together

GPUS = lambda rule: rule.gpus  # noqa: E731


def most_gpus(entries, user="ann", groups=()):
    rule = rule_for(parse_rules(entries), user, groups, GPUS)
    return rule and rule.gpus


def test_everybodys_rule_counts_where_no_other_does():
    assert most_gpus([{"gpus": 2}]) == 2
    assert most_gpus([{"servers": 2}]) is None


def test_a_groups_rule_comes_before_everybodys_either_way():
    entries = [{"gpus": 2}, {"groups": ["phd"], "gpus": 4}, {"groups": ["students"], "gpus": 1}]
    assert most_gpus(entries, groups=["phd"]) == 4
    assert most_gpus(entries, groups=["students"]) == 1
    assert most_gpus(entries, groups=["guests"]) == 2


def test_of_several_groups_the_most_generous_counts():
    entries = [{"groups": ["phd"], "gpus": 4}, {"groups": ["students"], "gpus": 1}]
    assert most_gpus(entries, groups=["students", "phd"]) == 4


def test_a_rule_that_names_the_user_comes_before_all():
    entries = [{"gpus": 8}, {"groups": ["phd"], "gpus": 4}, {"users": ["ann"], "gpus": 0}]
    assert most_gpus(entries, groups=["phd"]) == 0


def test_each_limit_is_looked_for_by_itself():
    rules = parse_rules([{"gpus": 2, "servers": 3}, {"users": ["ann"], "gpus": 8}])
    assert rule_for(rules, "ann", (), lambda rule: rule.servers).servers == 3


def test_a_rule_together_is_no_limit_of_one_person():
    entries = [{"groups": ["lab"], "together": True, "gpus": 6}]
    assert most_gpus(entries, groups=["lab"]) is None
    (rule,) = rules_together(parse_rules(entries), "ann", ["lab"], GPUS)
    assert rule.gpus == 6
    assert not rules_together(parse_rules(entries), "ann", ["other"], GPUS)


def test_who_is_meant_is_said_in_words():
    (rule,) = parse_rules([{"groups": ["b", "a"], "users": ["zoe"], "together": True, "gpus": 1}])
    assert rule.who == "a, b and zoe"


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (3, r"rules\[0\]: expected a dict of fields, got 3"),
        ({"gpu": 2}, r"there is no field 'gpu'; there are: users, groups, "),
        ({"gpus": -1}, r"field 'gpus': expected how many GPUs at once, such as 2 or 0.5, got -1"),
        ({"gpus": "two"}, r"field 'gpus'"),
        ({"gpus": True}, r"field 'gpus'"),
        ({"servers": 1.5}, r"field 'servers': expected how many machines at once, a whole number"),
        ({"groups": "students", "gpus": 1}, r"field 'groups': expected a list of group names"),
        ({"users": [], "gpus": 1}, r"field 'users'"),
        ({"session": "soon"}, r"field 'session': expected a time of a minute or more, such as '8h'"),
        ({"budget": {"gpu_hours": 0}}, r"field 'budget': expected {'gpu_hours': 100} or {'cost': 500}"),
        ({"budget": {"euro": 5}}, r"field 'budget'"),
        ({"budget": {"cost": 5}, "per": "day"}, r"field 'per': expected 'week' or 'month'"),
        ({"gpus": 1, "per": "week"}, r"'per' and 'at_limit' are of a 'budget'"),
        ({"groups": ["a"]}, r"it limits nothing"),
        ({"session": "1h", "together": True}, r"a session is one person's"),
        ({"kept": "1G", "together": True}, r"what is kept is one person's"),
        ({"kept": "much"}, r"field 'kept': expected how much room machines that are kept may take"),
    ],
)
def test_a_wrong_entry_is_a_sentence(entry, sentence):
    with pytest.raises(RuleError, match=sentence):
        parse_rules([entry])
