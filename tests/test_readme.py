"""What the README and the changelog say is so."""

import re
from pathlib import Path

import gradtx

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_it_opens_with_what_it_is_and_two_commands() -> None:
    opening = README.partition("## ")[0]
    assert opening.startswith("# gradtx\n\ngradtx turns gradients into parameter updates")
    commands = re.findall(r"^pip install .*", section("Two commands"), re.MULTILINE)
    assert [command.partition("#")[0].strip() for command in commands] == [
        "pip install '.[cli]' && gradtx compare",
        "pip install '.[test]' && pytest",
    ]


def test_the_training_example_has_ten_lines() -> None:
    fences = re.findall(r"```python\n(.*?)```", section("Ten lines"), re.DOTALL)
    assert len([line for line in fences[-1].splitlines() if line.strip()]) == 10


def test_the_table_lists_the_registry() -> None:
    rows = re.findall(r"^\| .* \|$", section("What is there"), re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    registered = [n for n, f in gradtx.registry().items() if f.function.__module__.startswith("gradtx.")]
    assert sorted(listed) == sorted(registered)


def test_the_changelog_has_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert f"## [{version[1]}]" in changelog
