"""What is written in signs, as it is read aloud, and back."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.text.spoken import as_written, spell_out
from tests.text.scripts import mess


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        # numbers
        ("5", "five"),
        ("1,234,567 and 3.14 and 007", "one million two hundred thirty four thousand five hundred sixty seven and three point one four and zero zero seven"),
        ("-5 or .5, the 21st, 10-20", "minus five or point five, the twenty first, ten to twenty"),
        ("1/2 cup, 1 1/2 cups, 2¾, 24/7", "one half cup, one and a half cups, two and three quarters, twenty four seven"),
        ("B2B, mp3, 5G, F-16, 5-year-old", "B two B, mp three, five G, F-sixteen, five-year-old"),
        ("#5, No. 7, 16:9, 3x4, 10x, ~8", "number five, number seven, sixteen to nine, three by four, ten times, about eight"),
        ("Chapter IV, World War II. Part I liked.", "Chapter four, World War two. Part I liked."),
        ("v2.0 and 1.2.3", "version two point zero and one point two point three"),
        # money
        ("$5, $1, $5.50, $0.99, $1,234.56", "five dollars, one dollar, five dollars and fifty cents, ninety nine cents, one thousand two hundred thirty four dollars and fifty six cents"),
        ("£1.2bn, $5 million, 5€, a $20 bill, $10-20", "one point two billion pounds, five million dollars, five euros, a twenty dollar bill, ten to twenty dollars"),
        ("€5,50, 12,99 €, £1,000, $1,234,567", "five euros and fifty cents, twelve euros and ninety nine cents, one thousand pounds, one million two hundred thirty four thousand five hundred sixty seven dollars"),
        # dates and times
        ("3/4/2024, 25/12/2024, 2024-03-05, 24.12.1999", "March fourth twenty twenty four, December twenty fifth twenty twenty four, March fifth twenty twenty four, December twenty fourth nineteen ninety nine"),
        ("On March 3rd, 2024, or Mar. 3, or 3 March 2024.", "On March third twenty twenty four, or March third, or the third of March twenty twenty four."),
        ("In 1984, the 1990s, the '80s, 2005", "In nineteen eighty four, the nineteen nineties, the eighties, two thousand five"),
        ("At 10:30am, 9:05, 17:00, 5 pm. Then", "At ten thirty a.m., nine oh five, seventeen hundred hours, five p.m. Then"),
        # units and signs
        ("5 km, 1 kg, 12 km/h, 10-20 m, 3.5%, 20°C", "five kilometers, one kilogram, twelve kilometers per hour, ten to twenty meters, three point five percent, twenty degrees Celsius"),
        ("R&D, Tom & Jerry, and/or, C#, C++, w/o, a + b", "R and D, Tom and Jerry, and or, C sharp, C plus plus, without, a plus b"),
        ("6'2\" tall", "six foot two tall"),
        # short forms, links, telephone
        ("Mr. Ray vs. Dr. Jones, e.g. now, etc. The end", "Mister Ray versus Doctor Jones, for example now, et cetera. The end"),
        ("Call 555-1234 or (555) 123-4567.", "Call five five five one two three four or five five five one two three four five six seven."),
        ("See https://example.com/news, bob@x.org", "See example dot com slash news, bob at x dot org"),
        # what has no sound
        ('"Stop!" he said - and "go."', "Stop! he said, and go."),
        ("He (as you know very well by now) slept.", "He, as you know very well by now, slept."),
        ("Hi (laughs) and (nods) so.", "Hi (laughs) and (nods) so."),
        ("a <> b, x_y", "a b, x y"),
        # what is left alone
        ("Don't, well-known, it's... (sighs) no?", "Don't, well-known, it's... (sighs) no?"),
    ],
)  # fmt: skip
def test_signs_are_said_as_people_say_them(written: str, spoken: str):
    said, spellings = spell_out(written)
    assert said == spoken
    assert as_written(said, spellings).split() == written.split()


@given(mess | st.text(alphabet="0123456789.,:/-$%'\" aAmpk#()", max_size=60))
def test_what_was_written_comes_back_and_no_digit_is_left(text: str):
    line = " ".join(text.split())
    said, spellings = spell_out(line)
    assert not any(digit in said for digit in "0123456789")
    assert "".join(as_written(said, spellings).split()) == "".join(line.split())
    for spelling, following in zip(spellings, spellings[1:], strict=False):
        assert spelling.start <= spelling.end <= following.start


@pytest.mark.parametrize("unit", ["5", "1,", "a. ", "word ", "$", "(a ", "1-", "a@", "a.", "'", "#", "3/"])
def test_ten_times_the_text_takes_about_ten_times_as_long(unit: str):
    def seconds(count: int) -> float:
        started = time.process_time()
        spell_out(unit * count)
        return time.process_time() - started

    small = min(seconds(2_000 // len(unit)) for _ in range(3))
    assert min(seconds(20_000 // len(unit)) for _ in range(2)) < max(40 * small, 0.5)
