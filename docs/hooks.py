"""What the documentation build adds to MkDocs: mathematics as MathML, and the docstrings' markup as Markdown.

MkDocs loads this file twice: as a hook (`on_config`, `on_page_content`), and mkdocstrings as an extension of griffe
(`DocstringMarkup`). The functions in between are plain text to text, and tested.
"""

import html
import re
import textwrap
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from griffe import Alias, Extension, Module

# --- docstrings -------------------------------------------------------------------------------------------------------

SECTIONS = ("State", "References")
"""Headings of docstring sections that griffe does not know."""

DECORATED = {
    "transformation": "GradientTransformation",
    "optimizer": "GradientTransformation",
    "schedule": "Schedule",
}
"""What a decorator makes a function return, whatever its annotation says."""


def markdown_mathematics(text: str) -> str:
    r"""The role ``:math:`` of reST as Markdown's ``\(...\)``, and the directive ``.. math::`` as ``\[...\]``."""
    directive = re.compile(r"^( *)\.\. math::(.*(?:\n\1 +\S.*)*)(?:\n\s*(\n\1 +\S.*(?:\n\1 +\S.*)*))?", re.MULTILINE)

    def block(match: re.Match[str]) -> str:
        indent, formula, below = match[1], match[2], match[3]
        if not formula.strip():
            formula, below = below or "", None
        shown = " ".join(formula.split())
        rest = f"\n{below}" if below else ""
        return f"\n{indent}\\[ {shown} \\]\n{rest}"

    return re.sub(r":math:`([^`]+)`", r"\(\1\)", directive.sub(block, text))


def markdown_sections(text: str) -> str:
    """The sections griffe does not know, as paragraphs under a heading that looks like those of the others."""
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    for name in SECTIONS:
        section = re.compile(rf"^{name}:\n((?:(?: +\S.*)?\n)*(?: +\S.*)?)", re.MULTILINE)
        text = section.sub(lambda m: _headed(m[0].partition(":")[0], m[1]), text)
    return text


def _headed(name: str, body: str) -> str:
    heading = f'<span class="doc-section-title">{name}:</span>'
    return f"{heading}\n\n{textwrap.dedent(body).strip()}\n\n"


def markdown_links(text: str, address: Callable[[str], str | None]) -> str:
    """Single-backquoted names that `address` knows, as links to their documentation."""

    def link(match: re.Match[str]) -> str:
        target = address(match[1])
        return f"[`{match[1]}`][{target}]" if target else match[0]

    return re.sub(r"(?<![`\w\[])`([\w.]+)`(?!`)", link, text)


def address_in(public: Collection[str]) -> Callable[[str], str | None]:
    """A function that gives the full path of a public name, ``gradtx.adam`` for ``adam``; ``None`` for others."""

    def address(name: str) -> str | None:
        short = name.removeprefix("gradtx.")
        return f"gradtx.{short}" if short in public else None

    return address


class DocstringMarkup(Extension):
    """Turns the docstrings' markup into Markdown before griffe divides them into sections."""

    def on_package(self, *, pkg: Any, **_: Any) -> None:
        """Called once, when everything is loaded."""
        definitions = dict(_definitions(pkg))
        public = {name for name in definitions if name in pkg.members and pkg.members[name].is_alias}
        for name in public:
            # griffe takes the module gradtx.optimizers.adam for what gradtx.optimizers exports as adam.
            pkg.set_member(name, Alias(name, definitions[name]))
        names = {*public, *(f"tree.{name}" for name in pkg["tree"].members)}
        for node in [*_objects(pkg)]:
            if node.is_function and node.decorators:
                node.returns = DECORATED.get(str(node.decorators[0].value), node.returns)
            if node.docstring:
                text = markdown_sections(markdown_mathematics(node.docstring.value))
                arguments = {parameter.name for parameter in node.parameters} if node.is_function else set()
                node.docstring.value = markdown_links(text, address_in(names - arguments))


def _objects(node: Any) -> Iterator[Any]:
    """Every object inside another, aliases left out."""
    for member in node.members.values():
        if not member.is_alias:
            yield member
            yield from _objects(member)


def _definitions(pkg: Module) -> Iterator[tuple[str, Any]]:
    """What the package's modules define, by name."""
    return ((node.name, node) for node in _objects(pkg) if not node.is_module and node.parent.is_module)


# --- pages ------------------------------------------------------------------------------------------------------------


BAR = '<mo stretchy="false">&#x0007C;</mo>'


def mathml(page: str) -> str:
    """The formulas that arithmatex marked in a page, as MathML: browsers show it without any script."""
    from latex2mathml.converter import convert

    def formula(match: re.Match[str], **options: Any) -> str:
        # latex2mathml takes the text of \text{a\_b} literally.
        latex = re.sub(r"\\text\{[^}]*\}", lambda text: text[0].replace(r"\_", "_"), html.unescape(match[1]))
        # A bar is a fence here; without a word to the contrary, browsers set it off like a relation.
        return str(convert(latex.strip(), **options)).replace(BAR, BAR.replace("<mo", '<mo lspace="0" rspace="0"'))

    def inline(match: re.Match[str]) -> str:
        return formula(match)

    def block(match: re.Match[str]) -> str:
        return f'<div class="formula">{formula(match, display="block")}</div>'

    page = re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', inline, page, flags=re.DOTALL)
    return re.sub(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', block, page, flags=re.DOTALL)


def included(markdown: str, root: Path) -> str:
    """A page with each ``<!-- include FILE -->`` replaced by a file of the repository, its links made right."""

    def text(match: re.Match[str]) -> str:
        return (root / match[1]).read_text(encoding="utf-8").replace("](docs/", "](")

    return re.sub(r"<!-- include (\S+) -->", text, markdown)


def blank_lines(markdown: str) -> str:
    """A page with the empty lines of examples empty; doctest has a word for them."""
    return re.sub(r"^( *)<BLANKLINE>$", r"\1", markdown, flags=re.MULTILINE)


def on_page_markdown(markdown: str, config: Any, **kwargs: Any) -> str:
    """MkDocs: a page's source."""
    return blank_lines(included(markdown, Path(config["docs_dir"]).parent))


def on_page_content(content: str, **kwargs: Any) -> str:
    """MkDocs: a page's HTML, before it goes into the template."""
    return mathml(content)


def on_config(config: Any) -> Any:
    """MkDocs: every page of measured results goes into the navigation."""
    results = sorted(Path(config["docs_dir"], "results").glob("*.md"))
    if results:
        section = {"Results": [str(path.relative_to(config["docs_dir"])) for path in results]}
        config["nav"].insert(len(config["nav"]) - 2, section)
    return config
