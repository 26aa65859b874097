from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from agentloop.testing import Gateway, calls, says, slow

from .conftest import Terminal

AtTerminal = Callable[..., Terminal]
Module = Callable[[str], None]

MENU = "[y]es, [n]o (tell the model why), [e]dit the arguments, [a]lways for this tool, [q]uit: "

TOOLS = """
    from threading import Barrier
    from agentloop.tools.external import external

    both = Barrier(2, timeout=20)

    @tool(effect="read")
    def meet(name: str) -> str:
        both.wait()
        print("debug \\x1b[2J")
        if name == "B":
            raise ValueError("late \\x1b]0;owned\\x07")
        return "[bold]\\x1b[31m\\u202e" * 40

    @tool(needs_approval=True, destructive=True)
    def forget(place: str, thoroughly: bool = False) -> str:
        "Remove a place for good."
        with open("forgotten", "w") as forgotten:
            forgotten.write(place)
        return "gone"

    @tool(effect="read", needs_approval=True)
    def recall(place: str) -> str:
        "Look up a place.\\n\\nIt reads \\x1b[2J what was kept."
        return place

    ask_guide = external("ask_guide", "Ask the guide.", parameters={"type": "object", "properties": {"place": {"type": "string"}}})
    """


def at(gateway: Gateway, *arguments: str) -> tuple[str, ...]:
    return ("run", "Go", "-m", "scripted", "--base-url", gateway.base_url, *arguments)


def lines(screen: Terminal) -> list[str]:
    return [line.rstrip() for line in screen.text.splitlines()]


def test_calls_side_by_side_are_completed_in_place(terminal: AtTerminal, module: Module):
    module(TOOLS)
    with Gateway(calls("meet", name="A") & calls("meet", name="B"), says("Met.")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:meet"))

        assert screen.end() == 0

    final = screen.text[screen.text.rindex('✓ meet(name="A")') :].splitlines()
    assert re.fullmatch(r'✓ meet\(name="A"\)  [\d.]+ m?s 560 B\s*', final[0])
    assert [line.strip() for line in final[1:3]] == ['✗ meet(name="B")', r"ValueError: late \x1b]0;owned\x07"]
    assert lines(screen)[-1] == "Met."
    # A line up and cleared, for each line of the block.
    assert "\x1b[1A\x1b[2K" in screen.shown


def test_nothing_hostile_reaches_the_terminal(terminal: AtTerminal, module: Module):
    module(TOOLS)
    answer = "Red: \x1b[31mred\x1b]0;owned\x07 \x9b2J \u202ereversed\rover [bold]not bold[/bold] :smile:\n\tEnd."
    with Gateway(calls("meet", name="A") & calls("meet", name="B\x1b[2J"), says(answer)) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:meet", "-v"))

        assert screen.end() == 0

    # What rich itself sends: styles, cursor up, clear the line, hide and show the cursor.
    ours = re.compile(r"\x1b\[(?:[\d;]*m|1A|2K|\?25[lh])")
    rest = ours.sub("", screen.shown)
    assert [character for character in rest if character in "\x00\x07\x08\x1b\x9b\u202e"] == []
    assert "\rover" not in rest
    assert r"Red: \x1b[31mred\x1b]0;owned\x07 \x9b2J \u202ereversed\rover [bold]not bold[/bold] :smile:" in screen.text
    assert r"[bold]\x1b[31m\u202e" in screen.text
    assert r"debug \x1b[2J" in screen.text


def test_the_answer_is_shown_as_it_comes(terminal: AtTerminal):
    with Gateway(slow(says("one ", "two"), between=0.01)) as gateway:
        screen = terminal(*at(gateway))
        screen.wait_for("one")

        assert screen.end() == 0

    assert lines(screen)[-1] == "one two"


def test_without_colours_the_block_is_still_completed_in_place(terminal: AtTerminal, module: Module):
    module(TOOLS)
    with Gateway(calls("meet", name="A") & calls("meet", name="B"), says("Met.")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:meet"), NO_COLOR="1")

        assert screen.end() == 0

    assert re.findall(r"\x1b\[[\d;]*(?:3|4|9|10)\d[\d;]*m", screen.shown) == []
    assert "\x1b[1A\x1b[2K" in screen.shown


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(terminal: AtTerminal, module: Module):
    module(TOOLS)
    with Gateway(calls("meet", name="A") & calls("meet", name="B"), says("Met.")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:meet"), TERM="dumb")

        assert screen.end() == 0

    assert "\x1b" not in screen.shown
    assert {'● meet(name="A")', '● meet(name="B")', r"debug \x1b[2J", "Met."} <= set(lines(screen))


def test_an_approved_call_runs(terminal: AtTerminal, module: Module, folder: Path):
    module(TOOLS)
    with Gateway(calls("forget", place="Rome\u202e\x1b[2J"), says("Forgotten.")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:forget"))
        screen.wait_for(MENU)
        screen.type("perhaps\n")
        screen.wait_for("perhaps\n  [y]es, [n]o")
        screen.type("y\n")

        assert screen.end() == 0

    assert (folder / "forgotten").read_text() == "Rome\u202e\x1b[2J"
    question = lines(screen).index("? forget asks to run: once, may do harm, destructive")
    assert lines(screen)[question + 1] == r'    place = "Rome\u202e\u001b[2J"'
    assert lines(screen)[-1] == "Forgotten."
    assert any(line.startswith("✓ forget(") for line in lines(screen))


def test_after_a_no_the_model_reads_why(terminal: AtTerminal, module: Module, folder: Path):
    module(TOOLS)
    with Gateway(calls("forget", place="Rome"), lambda body: says(f"I heard: {body['messages'][-1]['content']}")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:forget"))
        screen.wait_for(MENU)
        screen.type("n\n")
        screen.wait_for("why? ")
        screen.type("we live there\n")

        assert screen.end() == 3

    assert not (folder / "forgotten").exists()
    assert "I heard: The user denied this call: we live there" in screen.text


def test_edited_arguments_are_shown_again_and_run(terminal: AtTerminal, module: Module, folder: Path):
    module(TOOLS)
    with Gateway(calls("forget", place="Rome"), lambda body: says(f"I heard: {body['messages'][-1]['content']}")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:forget"))
        screen.wait_for(MENU)
        screen.type("e\n")
        screen.wait_for('{"place":"Rome"}\n  all arguments as one JSON object, or nothing to leave them: ')
        screen.type('{"place": "Oslo", "thoroughly": "perhaps\\u001b[2J"}\n')
        screen.wait_for(f'thoroughly: should be a valid boolean, unable to interpret input; got "perhaps\\u001b[2J".\n  {MENU}')
        screen.type("e\n")
        screen.wait_for("leave them: ")
        screen.type('["Oslo"]\n')
        screen.wait_for(f"that is no JSON object\n  {MENU}")
        screen.type("e\n")
        screen.type('{"place": "Oslo"}\n')
        screen.wait_for(f'    place = "Oslo"\n  {MENU}')
        screen.type("y\n")

        assert screen.end() == 0

    assert (folder / "forgotten").read_text() == "Oslo"
    assert 'I heard: A person changed the arguments of this call to {"place":"Oslo"}' in screen.text
    assert any(line.startswith('✓ forget(place="Oslo")') for line in lines(screen))


def test_an_edit_of_nothing_leaves_the_arguments(terminal: AtTerminal, module: Module, folder: Path):
    module(TOOLS)
    with Gateway(calls("forget", place="Rome"), lambda body: says(f"I heard: {body['messages'][-1]['content']}")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:forget"))
        screen.wait_for(MENU)
        screen.type("e\n\ny\n")

        assert screen.end() == 0

    assert (folder / "forgotten").read_text() == "Rome"
    assert "I heard: gone" in screen.text


def test_after_an_always_the_tool_is_not_asked_about_again_and_others_are(terminal: AtTerminal, module: Module, folder: Path):
    module(TOOLS)
    turns = (calls("recall", place="A") & calls("recall", place="B"), calls("recall", place="C") & calls("forget", place="Rome"), says("."))
    with Gateway(*turns) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:recall", "-T", "mytools:forget"))
        screen.wait_for(MENU)
        screen.type("a\n")
        screen.wait_for(f'place = "Rome"\n  it says of itself: Remove a place for good.\n  {MENU}')
        screen.type("y\n")

        assert screen.end() == 0

    assert screen.text.count("asks to run") == 2
    assert (folder / "forgotten").read_text() == "Rome"


def test_a_quit_ends_the_run_before_the_call(terminal: AtTerminal, module: Module, folder: Path):
    module(TOOLS)
    with Gateway(calls("forget", place="Rome")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:forget"))
        screen.wait_for(MENU)
        screen.type("q\n")

        assert screen.end() == 3

    assert not (folder / "forgotten").exists()
    assert lines(screen)[-1] == 'agentloop: forget(place="Rome") was neither approved nor denied, so the run stopped before it'


def test_what_a_tool_says_of_itself_is_escaped(terminal: AtTerminal, module: Module):
    module(TOOLS)
    with Gateway(calls("recall", place="Rome")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:recall"))
        screen.wait_for(MENU)
        screen.type("q\n")

        assert screen.end() == 3

    assert r"  it says of itself: Look up a place.\n\nIt reads \x1b[2J what was kept." in lines(screen)


def test_a_person_may_give_a_result_that_comes_from_outside(terminal: AtTerminal, module: Module):
    module(TOOLS)
    with Gateway(calls("ask_guide", place="Rome"), lambda body: says(f"I heard: {body['messages'][-1]['content']}")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:ask_guide"))
        screen.wait_for("[r]esult (you give it), [n]o (tell the model why), [q]uit: ")
        screen.type("y\nr\n")
        screen.wait_for("  result: ")
        screen.type("It is closed.\n")

        assert screen.end() == 0

    assert "? ask_guide asks for a result from outside: once, may do harm" in lines(screen)
    assert "I heard: It is closed." in screen.text


def test_each_waiting_call_is_asked_for(terminal: AtTerminal, module: Module, folder: Path):
    module(TOOLS)
    with Gateway(calls("forget", place="Rome") & calls("forget", place="Oslo", thoroughly=True), says("Done.")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:forget"))
        screen.wait_for(MENU)
        screen.type("n\n")
        screen.wait_for("why? ")
        screen.type("\n")
        screen.wait_for(f"thoroughly = true\n  it says of itself: Remove a place for good.\n  {MENU}")
        screen.type("yes\n")

        assert screen.end() == 3

    assert (folder / "forgotten").read_text() == "Oslo"


def test_what_was_typed_before_the_question_is_no_answer(terminal: AtTerminal, module: Module, folder: Path):
    module(TOOLS)
    with Gateway(slow(calls("forget", place="Rome"), between=0.1), says("Done.")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:forget"))
        screen.type("y\n")
        screen.wait_for(MENU)
        screen.type("\x04")

        assert screen.end() == 3

    assert not (folder / "forgotten").exists()
    assert "needs a person's approval" in screen.text


def test_a_long_argument_says_how_much_of_it_is_not_shown(terminal: AtTerminal, module: Module):
    module(TOOLS)
    with Gateway(calls("forget", place="x" * 5000), says("Done.")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:forget"))
        screen.wait_for(MENU)
        screen.type("\x03")

        assert screen.end() == 130

    assert "… and 3,002 characters more" in screen.text.replace("\n", "")


@pytest.mark.parametrize("moment", ["asked", "speaking", "calling"])
def test_ctrl_c_is_one_line_at_any_moment(moment: str, terminal: AtTerminal, module: Module):
    module("import time\n@tool\ndef wait() -> str:\n    time.sleep(600)\n    return 'late'\n")
    turns = {
        "asked": (slow(says("Never."), before=600), "openai:scripted"),
        "speaking": (slow(says("one ", "two "), between=1), "one"),
        "calling": (calls("wait"), "● wait()"),
    }
    turn, words = turns[moment]
    with Gateway(turn) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:wait"))
        screen.wait_for(words)
        screen.type("\x03")

        assert screen.end() == 130

    assert "Traceback" not in screen.text
    assert lines(screen)[-1] == "agentloop: interrupted; the run was stopped and its connection closed"
    # The cursor is there again.
    assert screen.shown.count("\x1b[?25h") == screen.shown.count("\x1b[?25l") or screen.shown.rindex("\x1b[?25h") > screen.shown.rindex(
        "\x1b[?25l"
    )


def test_ctrl_c_at_the_question_ends_its_line(terminal: AtTerminal, module: Module, folder: Path):
    module(TOOLS)
    with Gateway(calls("forget", place="Rome"), says("Never said.")) as gateway:
        screen = terminal(*at(gateway, "-T", "mytools:forget"))
        screen.wait_for(MENU)
        screen.type("\x03")

        assert screen.end() == 130

    assert lines(screen)[-1] == "agentloop: interrupted; the run was stopped and its connection closed"
    assert not (folder / "forgotten").exists()
