"""Expressions written to harm: each ends quickly with a small result or is refused, and memory stays where it was.

The time limit is generous, since machines differ and are shared; without the bounds most of these take seconds or
gigabytes.
"""

import gc
import random
import resource
import sys
import time
from typing import Any

import pytest

from libs.common.domain.conditions import compile_conditions
from libs.common.domain.templates import TemplateError, compile_expression, compile_template

LIMIT_SECONDS = 0.5
LIMIT_MEGABYTES = 100

_random = random.Random(1)
SCOPE: dict[str, Any] = {
    "s": "a" * 1000,
    "big": "a" * 500_000,
    "ab": "".join(_random.choice("ab") for _ in range(100_000)),
    "l": list(range(1000)),
    "l10": list(range(10_000)),
    "l300": list(range(300)),
    "l90": list(range(90)),
    "rows": [{"x": "y" * 50} for _ in range(1000)],
    "ll": [list(range(100)) for _ in range(100)],
    "quotes": '"' * 1000,
}


def _tree(leaf: str, depth: int) -> str:
    return leaf if depth == 0 else f"({_tree(leaf, depth - 1)}+{_tree(leaf, depth - 1)})"


HOSTILE = {
    "doubling a text in a chain": "[s]" + ".map(a,a+a)" * 12 + "[0].size()",
    "doubling a literal": "['x']" + ".map(a,a+a)" * 30,
    "doubling a structure": "[[1]]" + ".map(a,[a,a])" * 40,
    "doubling a list, then mapping it": "[l].map(a,a+a).map(b,b+b)[0].map(c,c).size()",
    "nested doubling": "[s].map(a,[a+a].map(b,[b+b].map(c,[c+c].map(d,d+d))))",
    "tree of concatenations": _tree("s", 8),
    "tree of list concatenations": _tree("l", 7) + ".size()",
    "tree of large texts": _tree("big", 2),
    "map in map over the same list": "l.map(i,l.map(j,l))",
    "map that repeats the list": "l.map(i,l)",
    "map that repeats a text": "l.map(i,s)",
    "map over a long list": "l10.map(i,i)",
    "many maps in a row": " && ".join(["l.map(i,i).size()>0"] * 50),
    "map in map": "l300.map(i,l300.map(j,j)).size()",
    "filter then map": "rows.filter(i,true).map(i,i.x)",
    "three nested loops": "rows.all(i,rows.all(j,rows.all(k,true)))",
    "loops over texts": "l90.all(i,l90.all(j,ab.contains('x')||true))",
    "comparing lists in a loop": "l90.all(i,l90.all(j,l==l))",
    "JSON in a loop": "rows.all(i,json(rows)!='')",
    "JSON of JSON": "json(" * 20 + "quotes" + ")" * 20,
    "replace by itself": "replace(replace(s,'a',s),'a',s)",
    "join with a long separator": "join(l10,s)",
    "deep brackets": "(" * 1000 + "1" + ")" * 1000,
    "deep lists": "[" * 1000 + "]" * 1000,
    "many signs": "-" * 2000 + "1",
    "many negations": "!" * 2000 + "true",
    "many conditionals": "1" + "?1:1" * 500,
    "many indexes": "[1]" + "[0]" * 600,
    "many calls": "l" + ".size()" * 250,
    "costly pattern": "s.matches('((a?){30}){30}b')",
    "costly pattern on a long text": "ab.matches('(a|b)*a(a|b){20}c')",
    "costly pattern in a loop": "l.all(i,'x'.matches('((a{100}){10}b)'+string(i))||true)",
    "pattern in a loop over a text": "l.all(i,ab.matches('x'))",
    "huge pattern": "'x'.matches('" + "(a{1000})" * 50 + "')",
    "huge date pattern": "format(date('2020-01-01'),'%9999999d')",
    "huge date": "date('2020-01-01','+9999999 years')",
    "large map literal": "{" + ",".join(f"'{index}':l10" for index in range(60)) + "}",
    "a function in a loop": "rows.map(i,upper(i.x)+lower(i.x)+replace(i.x,'y',i.x))",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_expression_ends_soon_and_small(source: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    try:
        compile_expression(source).evaluate(SCOPE)
    except TemplateError as error:
        assert error.reason
    assert time.process_time() - started < LIMIT_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < LIMIT_MEGABYTES


def test_evaluation_leaks_nothing() -> None:
    """The binding leaks what passes through Python functions called by CEL; so CEL may not call any."""
    sources = [
        "upper(s) + 'x'",
        "l90.map(i, i * 1.5)",
        "date('2026-01-01', '+1 day')",
        "s.matches('b')",
        "default(nope.x, s)",
    ]
    expressions = [compile_expression(source) for source in sources]
    growth: list[int] = []
    for _ in range(3):  # the first rounds fill caches
        gc.collect()
        before = sys.getallocatedblocks()
        for expression in expressions * 100:
            expression.evaluate(SCOPE)
        gc.collect()
        growth.append(sys.getallocatedblocks() - before)
    assert min(growth) < 100


def test_joined_text_is_bounded() -> None:
    with pytest.raises(TemplateError, match="longer than 1024 KiB"):
        compile_template("{{ big }}" * 3).render(SCOPE)


def test_a_whole_rendered_value_is_bounded() -> None:
    with pytest.raises(TemplateError, match="the whole rendered value"):
        compile_template(["{{ big }}"] * 20).render(SCOPE)


def test_deep_data_is_refused_without_a_crash() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    for source in ("deep", "[deep]", "deep == deep"):
        with pytest.raises(TemplateError, match="nested deeper"):
            compile_expression(source).evaluate({"deep": deep})


def test_costly_pattern_in_a_condition_is_refused() -> None:
    condition = compile_conditions([{"field": "ab", "operator": "matches", "value": "(a|b)*a(a|b){20}c"}])
    with pytest.raises(TemplateError, match="too costly"):
        condition.matches(SCOPE)


@pytest.mark.parametrize("source", ["''.__class__", "input.__class__", "input.a.real", "now.tzinfo", "input.keys"])
def test_nothing_of_python_is_reachable(source: str) -> None:
    with pytest.raises(TemplateError):
        compile_expression(source).evaluate({"input": {"a": 1}, "now": 1})
