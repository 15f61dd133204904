"""What users wrote is shown as they wrote it, and cannot do anything to the terminal."""

import unicodedata

import pytest

from dia.cli.terminal import Terminal, printable


@pytest.mark.parametrize("text", ["[s1] hi", "[/]", "[bold]x[/bold]", "Grüße, 你好", "100 % \\ {x}"])
def test_ordinary_text_is_unchanged(text):
    assert printable(text) == text


def test_controls_become_visible():
    assert printable("a\x1b[31mb\x07") == "a\\x1b[31mb\\x07"
    assert printable("a\u202eb\ud800") == "a\\u202eb\\ud800"
    assert printable(" one\r\n\ttwo ") == "one two"


def test_nothing_invisible_is_left_of_any_character_and_it_is_one_line():
    # The planes with text, and the tags at U+E0000; the rest is unassigned or private.
    shown = printable("".join(chr(code) for code in (*range(0x20000), *range(0xE0000, 0xE0200))))
    assert not {unicodedata.category(character) for character in set(shown)} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_warnings_are_counted_and_quiet_hides_them(capsys):
    Terminal().warn(["one", "two"])
    Terminal(quiet=True).warn(["three"])
    Terminal(quiet=True).result("seed 1")
    assert capsys.readouterr().err == "warning 1 of 2: one\nwarning 2 of 2: two\nseed 1\n"
