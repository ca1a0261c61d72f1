"""What to cite: the references of the methods in use, as BibTeX."""

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from gradtx.core import GradientTransformation, Schedule
from gradtx.core.value import Value, same
from gradtx.errors import ArgumentTypeError
from gradtx.inspect.parts import is_transformation, members

ARXIV = re.compile(r",? ?arXiv:(\d{4}\.\d{4,5})")
YEAR = re.compile(r"\b((?:18|19|20)\d\d)\b")
CONDITION = re.compile(r" ?\(for `(\w+)`\)")
NAME = re.compile(r"(?:[A-Z][\w'-]*\.? ?){1,3}(?: et al\.)?")


class Reference(NamedTuple):
    """An entry under ``References:`` in a docstring, ``Authors, Title, venue year, arXiv:id (for `argument`)``.

    Attributes:
      authors: their surnames; "others" stands for those left out.
      title: the title.
      venue: where it was published, if that is said.
      year: the year.
      arxiv: the number there, if there is one.
    """

    authors: tuple[str, ...]
    title: str
    venue: str
    year: str
    arxiv: str


def citation(tx: Any) -> str:
    """BibTeX of the methods that a transformation uses: its own, those of its members and of its schedules.

    A reference that belongs to an option is left out where the option is not used: Nesterov's momentum, say. Works are
    sorted by key, each once. The entries have what the docstrings have: surnames, and "others" after the first author
    of many; they are for a bibliography, after a look at the papers.

    Args:
      tx: a transformation or a schedule. What comes from other libraries is passed over.

    Returns:
      The entries, sorted and with an empty line between them; empty if there is nothing to cite.

    Raises:
      ArgumentTypeError: it is something else.

    Example:
      >>> import gradtx
      >>> print(gradtx.citation(gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adam(1e-3))))
      @misc{kingma2015adam,
        author = {Kingma and Ba},
        title = {{Adam: a method for stochastic optimization}},
        year = {2015},
        eprint = {1412.6980},
        archivePrefix = {arXiv},
      }
      <BLANKLINE>
      @misc{pascanu2013difficulty,
        author = {Pascanu and Mikolov and Bengio},
        title = {{On the difficulty of training recurrent neural networks}},
        year = {2013},
        eprint = {1211.5063},
        archivePrefix = {arXiv},
      }
    """
    if not isinstance(tx, Value) and not is_transformation(tx):
        raise ArgumentTypeError("a transformation or schedule", got=repr(tx), origin="citation")
    works: dict[str, Reference] = {}
    for text in texts(tx):
        reference = read(text)
        works.setdefault(reference.arxiv or f"{reference.authors} {reference.title}".lower(), reference)
    ordered = sorted(works.values(), key=lambda work: (key(work), work.title))
    groups = itertools.groupby(ordered, key)
    keyed = [(name, list(group)) for name, group in groups]
    letters = "abcdefghij"
    entries = [
        entry(name if len(group) == 1 else f"{name}{letter}", work)
        for name, group in keyed
        for letter, work in zip(letters, group, strict=False)
    ]
    return "\n\n".join(entries)


def texts(value: Any) -> Iterator[str]:
    """The references of a value and of everything in it, as the docstrings have them."""
    if not isinstance(value, Value):
        return
    for text in value.factory.references:
        condition = CONDITION.search(text)
        if condition is None or _in_use(value, condition[1]):
            yield CONDITION.sub("", text)
    if isinstance(value, GradientTransformation):
        for member in members(value):
            yield from texts(member.tx)
    for argument in value.arguments.values():
        for schedule in _schedules(argument):
            yield from texts(schedule)


def _in_use(value: Value, argument: str) -> bool:
    """Whether an argument differs from its default."""
    return not same(value.arguments[argument], value.factory.arguments[argument].default)


def _schedules(argument: Any) -> Iterator[Schedule]:
    if isinstance(argument, Schedule):
        yield argument
    elif type(argument) in (tuple, list):
        for x in argument:
            yield from _schedules(x)


def read(text: str) -> Reference:
    """The parts of a reference.

    Authors are those names before the first comma that is followed by more words than a name has; a title that begins
    like a name, or has a comma before a capital, is put in quotation marks.
    """
    arxiv = ARXIV.search(text)
    line = re.sub(r" \([^)]*\)$", "", ARXIV.sub("", text).strip().rstrip("."))
    quoted = re.match(r'(.*?), "(.*?)",? ?(.*)', line)
    if quoted:
        authors, title, rest = quoted[1].split(", "), quoted[2], quoted[3].split(", ")
    else:
        parts = line.split(", ")
        count = next((i for i, part in enumerate(parts) if i and not NAME.fullmatch(part)), len(parts))
        count = next((i + 1 for i, part in enumerate(parts[:count]) if part.endswith("et al.")), count)
        last = next((i for i in range(count + 1, len(parts)) if YEAR.search(parts[i]) or parts[i][0].isupper()), None)
        authors, title, rest = parts[:count], ", ".join(parts[count:last]), parts[last:] if last else []
    dated = next((part for part in rest if YEAR.search(part)), "")
    year = YEAR.search(dated)
    before = rest[: rest.index(dated)] if dated else []
    venue = ", ".join(part for part in [*before, YEAR.sub("", dated).strip()] if part)
    return Reference(_authors(authors), title, venue, year[1] if year else "", arxiv[1] if arxiv else "")


def _authors(names: list[str]) -> tuple[str, ...]:
    full = [name.removesuffix(" et al.") for name in names]
    return (*full, "others") if full != names else tuple(full)


def key(work: Reference) -> str:
    """The key of an entry: first author, year, first long word of the title."""
    words = re.findall(r"\w+", work.title.lower())
    word = next((word for word in words if word not in SHORT), "")
    return re.sub(r"\W", "", f"{work.authors[0].lower()}{work.year}{word}")


SHORT = {"a", "an", "and", "for", "in", "of", "on", "some", "the", "to", "with"}


def entry(name: str, work: Reference) -> str:
    """An entry of BibTeX."""
    fields = {
        "author": " and ".join(f"{{{a}}}" if " " in a else a for a in work.authors),
        "title": f"{{{work.title}}}",
        "journal": work.venue,
        "year": work.year,
        "eprint": work.arxiv,
        "archivePrefix": "arXiv" if work.arxiv else "",
    }
    lines = [f"  {field} = {{{value}}}," for field, value in fields.items() if value]
    return "\n".join([f"@{'article' if work.venue else 'misc'}{{{name},", *lines, "}"])
