"""BibTeX from docstrings: of the methods in use, and of no others."""

import re
import sys

import jax.numpy as jnp
import optax
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError
from gradtx.inspect.citation import CONDITION, read

REFERENCES = sorted(
    {
        (name, text)
        for name, f in gradtx.registry().items()
        if f.function.__module__.startswith("gradtx.")
        for text in f.references
    }
)


def keys(tx):
    return re.findall(r"^@\w+\{(\w+),$", gradtx.citation(tx), re.MULTILINE)


@pytest.mark.parametrize(("name", "text"), REFERENCES, ids=lambda x: x[:30])
def test_every_reference_can_be_read(name, text):
    work = read(text)
    assert re.fullmatch(r"\d{4}", work.year)
    assert 2 <= len(work.title.split()) < 25
    assert all(len(author.split()) <= 2 for author in work.authors)
    assert (work.arxiv == "") == ("arXiv" not in text)
    assert not re.search(r"\d{4}|arXiv|et al", work.title + work.venue)
    for argument in CONDITION.findall(text):
        assert argument in gradtx.registry()[name].arguments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A, B, Title of one, 2013.", (("A", "B"), "Title of one", "", "2013", "")),
        ("A et al., Title: of one, and two, ICML 2013, arXiv:1308.0850.", (
            ("A", "others"), "Title: of one, and two", "ICML", "2013", "1308.0850")),
        ("A, Title of one, Journal of Things 16, 1962.", (("A",), "Title of one", "Journal of Things 16", "1962", "")),
        ('A, Von B, "Learning, Games", 2013, arXiv:1311.1869 (a note)', (
            ("A", "Von B"), "Learning, Games", "", "2013", "1311.1869")),
        ("A, Title of one, 2016, chapter 3.", (("A",), "Title of one", "", "2016", "")),
    ],
)  # fmt: skip
def test_forms(text, expected):
    assert read(text) == expected


def test_the_text_is_bibtex():
    tx = gradtx.sgd(gradtx.warmup_stable_decay_schedule(0.0, 1.0, 1, 1, 1))
    assert (
        gradtx.citation(tx)
        == """\
@misc{haegele2024scaling,
  author = {Haegele and Bakouch and Kosson and {Ben Allal} and {Von Werra} and Jaggi},
  title = {{Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations}},
  year = {2024},
  eprint = {2405.18392},
  archivePrefix = {arXiv},
}

@misc{hu2024minicpm,
  author = {Hu and others},
  title = {{MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training Strategies}},
  year = {2024},
  eprint = {2404.06395},
  archivePrefix = {arXiv},
}

@misc{robbins1951stochastic,
  author = {Robbins and Monro},
  title = {{A stochastic approximation method}},
  year = {1951},
}"""
    )
    assert gradtx.citation(gradtx.nadam(0.1)).startswith(
        "@article{dozat2016incorporating,\n  author = {Dozat},\n"
        "  title = {{Incorporating Nesterov momentum into Adam}},\n  journal = {ICLR workshop},\n  year = {2016},\n}\n"
    )


USES = {
    "sgd(0.1)": ["robbins1951stochastic"],
    "sgd(0.1, momentum=0.9)": ["polyak1964methods", "robbins1951stochastic", "sutskever2013importance"],
    "adam(0.1)": ["kingma2015adam"],
    "adam(0.1, nesterov=True)": ["dozat2016incorporating", "kingma2015adam"],
    "adamw(0.1)": ["kingma2015adam", "loshchilov2019decoupled"],
    "rmsprop(0.1)": ["tieleman2012lecture"],
    "rmsprop(0.1, centered=True)": ["graves2013generating", "tieleman2012lecture"],
    "ranger(0.1)": ["liu2020variance", "wright2019ranger", "yong2020gradient", "zhang2019lookahead"],
    "chain(clip(1.0), clip_by_global_norm(1.0), clip_by_global_norm(2.0))": ["pascanu2013difficulty"],
    "partition({'*kernel': adam(0.1), '*': lookahead(sgd(0.1))})": [
        "kingma2015adam",
        "robbins1951stochastic",
        "zhang2019lookahead",
    ],
    "clip(multiply_schedules(join_schedules([cosine_decay_schedule(1.0, 9)], []), 2.0))": ["loshchilov2016sgdr"],
    "chain(clip_by_block_rms(1.0), ema(debiased_decay(0.9)))": ["shazeer2018adafactor"],
    "clip(1.0)": [],
}


@pytest.mark.parametrize("text", USES)
def test_what_is_used_is_cited_and_nothing_else(text):
    assert keys(gradtx.parse(text)) == USES[text]


def test_schedules_and_foreign_members():
    assert keys(gradtx.cosine_decay_schedule(0.1, 10)) == ["loshchilov2016sgdr"]
    assert keys(gradtx.chain(optax.adam(0.1), gradtx.lion(0.1))) == ["chen2023symbolic", "loshchilov2019decoupled"]
    assert gradtx.citation(optax.adam(0.1)) == ""


def test_two_works_of_one_key_are_told_apart(monkeypatch):
    references = ("A, Method of one, 2013.", "A, Method of two, 2013.")
    monkeypatch.setattr(sys.modules["gradtx.inspect.citation"], "texts", lambda _: iter(references))
    assert keys(gradtx.clip(1.0)) == ["a2013methoda", "a2013methodb"]


def test_anything_else_is_a_mistake():
    with pytest.raises(ArgumentTypeError, match=r"gradtx\.citation: expected a transformation or schedule"):
        gradtx.citation(jnp.ones(2))
