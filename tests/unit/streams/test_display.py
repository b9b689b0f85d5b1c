from io import StringIO

import pytest
from rich.console import Console

from streams.display import Display, show_rows


def plain() -> tuple[Display, StringIO]:
    """A display whose output is no terminal."""
    written = StringIO()
    return Display(Console(file=written, width=40)), written


def test_on_plain_output_an_activity_tells_about_ten_times_how_far_it_is() -> None:
    display, written = plain()
    with display.activity("playing ticks", 1000) as activity:
        for done in range(0, 1001, 7):
            activity.advance_to(done, 1000)
        activity.advance_to(1000, 1000)
    lines = written.getvalue().splitlines()
    assert lines[0] == "playing ticks ..."
    assert len(lines) == 11
    assert lines[-1] == "playing ticks: 1000/1000"


def test_an_activity_without_a_count_says_only_that_it_goes_on() -> None:
    display, written = plain()
    with display.activity("starting") as activity:
        activity.advance_to(3, None)
    assert written.getvalue() == "starting ...\n"


def test_plain_lines_are_never_folded_and_their_text_is_never_markup() -> None:
    display, written = plain()
    long = "[bold]" + "x" * 100
    with display.activity(long, 1) as activity:
        activity.say(long)
        activity.advance_to(1, 1, "best [red]")
    display.say(long)
    assert written.getvalue().splitlines() == [f"{long} ...", f"  {long}", f"{long}: 1/1  best [red]", long]


def test_on_a_terminal_it_is_a_bar_with_the_sentences_above_it() -> None:
    written = StringIO()
    display = Display(Console(file=written, force_terminal=True, width=120))
    with display.activity("search mine", 4) as activity:
        activity.say("accepted")
        activity.advance_to(4, 4, "best Sharpe 0.40")
    shown = written.getvalue()
    assert "  accepted" in shown
    assert "search mine" in shown
    assert "4/4" in shown
    assert "best Sharpe 0.40" in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_a_table_shows_every_cell(terminal: bool) -> None:
    written = StringIO()
    rows = [("AAPL", "12", "-0.25"), ("[bold]", "3", "-")]
    show_rows(Console(file=written, force_terminal=terminal, width=80), ("ticker", "signals", "net"), rows, title="All")
    for text in ("All", "ticker", "signals", "net", "AAPL", "12", "-0.25", "[bold]"):
        assert text in written.getvalue()


def test_plain_columns_are_aligned_with_numbers_to_the_right() -> None:
    written = StringIO()
    show_rows(Console(file=written, width=10), ("ticker", "signals"), [("AAPL", "12"), ("A", "1,003")])
    assert written.getvalue().splitlines() == ["ticker  signals", "AAPL         12", "A         1,003"]
