"""A model can read, list and search the folder, in results that are small and tell it how to go on."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import pytest
from agentloop_files import Files
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop import Agent, plugins
from agentloop.errors import PluginError
from agentloop.testing import Scripted, calls, check_toolset, says

APP = 'import os\n\n\ndef main() -> None:\n    print("hello")\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small project."""
    for folder in ("src/web", ".git", "node_modules", "empty"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "src/app.py").write_text(APP)
    (tmp_path / "src/web/page.py").write_text("def render() -> str:\n    return 'Hello'\n")
    (tmp_path / "src/web/page.js").write_text("function render() {}\n")
    (tmp_path / "README.md").write_text("# Hello\n")
    (tmp_path / ".git/config").write_text("hello = 1\n")
    (tmp_path / "node_modules/x.js").write_text("hello()\n")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\r\n\x00\x00hello")
    (tmp_path / "latest").symlink_to("src/app.py")
    return tmp_path


def test_the_toolset_keeps_the_contract(root: Path):
    check_toolset(
        Files(root),
        examples={
            "read_file": [{"path": "src/app.py"}, {"path": "src/app.py", "start": 2, "end": 3}],
            "list_files": [{}, {"path": "src", "pattern": "**/*.py"}],
            "grep": [{"pattern": "hello"}, {"pattern": "(", "literal": True, "path": "src", "glob": "*.py", "ignore_case": True}],
        },
    )


def test_every_tool_only_reads(root: Path):
    assert {tool.name: tool.options.effect for tool in Files(root).tools()} == {"read_file": "read", "list_files": "read", "grep": "read"}


async def test_an_agent_finds_and_reads_a_file_and_learns_from_a_wrong_path(root: Path):
    model = Scripted(
        calls("grep", pattern="def main"),
        calls("read_file", path="/etc/passwd"),
        calls("read_file", path="src/app.py", start=4, end=4),
        says("It takes nothing."),
    )

    result = await Agent(model, tools=[Files(root)]).run("What does main take?")

    assert result.text == "It takes nothing."
    assert [(answer.text, answer.is_error) for heard in model.heard for answer in heard.results] == [
        ("src/app.py:4:def main() -> None:", False),
        ("PermissionError: '/etc/passwd' is outside the root folder; give a path relative to the root, without '..'", True),
        ("4\tdef main() -> None:", False),
    ]


async def test_wrong_arguments_come_back_to_the_model(root: Path):
    model = Scripted(calls("read_file", path="README.md", start=0), says("Sorry."))

    await Agent(model, tools=[Files(root)]).run("Read.")

    [answer] = model.heard[-1].results
    assert answer.is_error
    assert "start" in answer.text


class TestReading:
    def test_lines_come_with_their_numbers(self, root: Path):
        assert Files(root).read_file("src/app.py") == '1\timport os\n2\t\n3\t\n4\tdef main() -> None:\n5\t    print("hello")'

    @pytest.mark.parametrize(("start", "end", "expected"), [(1, 1, "1"), (4, None, "4 5"), (2, 3, "2 3"), (5, 99, "5")])
    def test_a_range_of_lines_is_read(self, root: Path, start: int, end: int | None, expected: str):
        text = Files(root).read_file("src/app.py", start=start, end=end)

        assert [line.split("\t")[0] for line in text.splitlines()] == expected.split()

    def test_a_long_file_can_be_read_on_to_its_end(self, root: Path):
        (root / "long.txt").write_text("".join(f"line {number}\n" for number in range(1, 501)))
        files = Files(root, max_bytes=1_000)
        read: list[str] = []
        start = 1

        for _ in range(50):
            *lines, last = files.read_file("long.txt", start=start).splitlines()
            assert len("\n".join([*lines, last]).encode()) <= 1_000
            read += lines
            if not last.startswith("[there is more; read on with start="):
                read.append(last)
                break
            start = int(last.removeprefix("[there is more; read on with start=").removesuffix("]"))

        assert read == [f"{number}\tline {number}" for number in range(1, 501)]

    def test_a_line_longer_than_a_result_is_cut_and_the_next_can_be_read(self, root: Path):
        (root / "long.txt").write_text("ä" * 100_000 + "\nshort\n")
        files = Files(root, max_bytes=1_000)

        first = files.read_file("long.txt").splitlines()

        assert first == ["1\t" + "ä" * 400, "[line 1 goes on, longer than one result can hold]", "[there is more; read on with start=2]"]
        assert files.read_file("long.txt", start=2) == "2\tshort"

    @pytest.mark.parametrize("end", ["\n", "\r\n", ""])
    def test_a_line_that_just_fits_is_not_cut(self, root: Path, end: str):
        (root / "long.txt").write_text("x" * 800 + end, newline="")

        assert Files(root, max_bytes=1_000).read_file("long.txt") == "1\t" + "x" * 800

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "[the file is empty]"),
            (b"\n", "1\t"),
            (b"no end", "1\tno end"),
            (b"a\r\nb\r\n", "1\ta\n2\tb"),
            (b"\xef\xbb\xbfmarked\n", "1\tmarked"),
            (b"caf\xe9\n", "1\tcaf\N{REPLACEMENT CHARACTER}"),
            ("a\u2028b\x85c\x0cd\n".encode(), "1\ta\u2028b\x85c\x0cd"),
        ],
    )
    def test_any_text_is_read(self, root: Path, content: bytes, expected: str):
        (root / "any.txt").write_bytes(content)

        assert Files(root).read_file("any.txt") == expected

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"path": "logo.png"}, "'logo.png' is a binary file; only text can be read"),
            ({"path": "src/app.py", "start": 6}, "'src/app.py' ends before line 6; give a smaller start"),
            ({"path": "src/app.py", "start": 3, "end": 2}, "end=2 comes before start=3; give an end that is not smaller"),
        ],
    )
    def test_what_cannot_be_read_is_said(self, root: Path, arguments: dict[str, object], message: str):
        with pytest.raises(ValueError, match=r".") as caught:
            Files(root).read_file(**arguments)

        assert str(caught.value) == message

    def test_a_file_without_end_is_given_up_in_time(self, root: Path):
        with (root / "sparse.txt").open("wb") as file:
            file.write(b"x" * 10_000)
            file.truncate(1 << 40)

        with pytest.raises(TimeoutError, match=r"this took over 0\.01 s; ask for less at once"):
            Files(root, max_seconds=0.01).read_file("sparse.txt", start=2)

    @settings(deadline=None)
    @given(content=st.binary(max_size=300).filter(lambda content: b"\0" not in content), start=st.integers(1, 5))
    def test_no_bytes_are_lost_or_invented(self, tmp_path_factory: pytest.TempPathFactory, content: bytes, start: int):
        folder = tmp_path_factory.mktemp("bytes")
        (folder / "any.txt").write_bytes(content)
        *ended, last = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        expected = [line.removesuffix(b"\r") for line in ended] + [last] * bool(last)

        try:
            text = Files(folder).read_file("any.txt", start=start)
        except ValueError:
            assert len(expected) < start
            return

        numbered = [f"{number}\t{line.decode(errors='replace')}" for number, line in enumerate(expected, 1)]
        assert text == ("\n".join(numbered[start - 1 :]) or "[the file is empty]")


class TestListing:
    def test_a_folder_shows_what_is_in_it(self, root: Path):
        listed = Files(root).list_files()

        assert listed.splitlines() == [".git/", "README.md", "empty/", "latest (a link)", "logo.png", "node_modules/", "src/"]

    @pytest.mark.parametrize(
        ("path", "pattern", "expected"),
        [
            (".", "*.py", "src/app.py src/web/page.py"),
            ("src", "*.py", "src/app.py src/web/page.py"),
            ("src", "web/*", "src/web/page.js src/web/page.py"),
            (".", "src/**/*.py", "src/app.py src/web/page.py"),
            (".", "**/web/**", "src/web/ src/web/page.js src/web/page.py"),
            (".", "src/*.py", "src/app.py"),
            (".", "./src/*.??", "src/app.py"),
            (".", "[ae]*", "empty/ src/app.py"),
            (".", "*.js", "src/web/page.js"),
            ("node_modules", "*.js", "node_modules/x.js"),
        ],
    )
    def test_a_pattern_reaches_all_below(self, root: Path, path: str, pattern: str, expected: str):
        assert Files(root).list_files(path, pattern=pattern).split() == expected.split()

    def test_nothing_found_is_said(self, root: Path):
        assert Files(root).list_files("empty") == "[the folder is empty]"
        assert Files(root).list_files("src", pattern="*.rs") == "[nothing in 'src' fits '*.rs']"

    def test_a_long_listing_is_cut(self, root: Path):
        assert Files(root, max_results=2).list_files().splitlines() == [
            ".git/",
            "README.md",
            "[there is more; narrow the pattern or the path]",
        ]

    def test_a_listing_keeps_to_its_bytes(self, root: Path):
        for number in range(100):
            (root / "empty" / f"{number:03}{'x' * 100}").touch()

        listed = Files(root, max_bytes=1_000).list_files("empty")

        assert len(listed) <= 1_000
        assert listed.endswith("[there is more; narrow the pattern or the path]")

    def test_folders_come_in_order(self, root: Path):
        for name in ("a", "b", "c"):
            (root / "empty" / name / "x").mkdir(parents=True)

        listed = Files(root).list_files("empty", pattern="**").splitlines()

        assert listed == ["empty/a/", "empty/b/", "empty/c/", "empty/a/x/", "empty/b/x/", "empty/c/x/"]

    @pytest.mark.parametrize("pattern", [None, "*"])
    def test_a_folder_that_is_not_there_is_said(self, root: Path, pattern: str | None):
        with pytest.raises(FileNotFoundError, match="there is no 'scr'; did you mean 'src'"):
            Files(root).list_files("scr", pattern=pattern)

    def test_a_file_is_no_folder(self, root: Path):
        with pytest.raises(NotADirectoryError, match=r"'README\.md' is not a folder"):
            Files(root).list_files("README.md")

    def test_a_search_that_takes_too_long_says_that_it_is_incomplete(self, root: Path):
        listed = Files(root, max_seconds=1e-9).list_files(pattern="*")

        assert listed == "[incomplete: this took over 1e-09 s; ask for less at once]"

    def test_a_link_to_a_folder_above_is_not_followed(self, root: Path):
        (root / "src/up").symlink_to("..")

        assert Files(root).list_files("src", pattern="**") == "src/app.py\nsrc/up (a link)\nsrc/web/\nsrc/web/page.js\nsrc/web/page.py"


class TestSearching:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({"pattern": "hello"}, ['src/app.py:5:    print("hello")']),
            (
                {"pattern": "hello", "ignore_case": True},
                ["README.md:1:# Hello", 'src/app.py:5:    print("hello")', "src/web/page.py:2:    return 'Hello'"],
            ),
            (
                {"pattern": "HELLO'", "ignore_case": True, "literal": True},
                ["src/web/page.py:2:    return 'Hello'"],
            ),
            ({"pattern": r"^def \w+\("}, ["src/app.py:4:def main() -> None:", "src/web/page.py:1:def render() -> str:"]),
            (
                {"pattern": "render()", "literal": True},
                ["src/web/page.js:1:function render() {}", "src/web/page.py:1:def render() -> str:"],
            ),
            ({"pattern": "render", "glob": "*.py"}, ["src/web/page.py:1:def render() -> str:"]),
            ({"pattern": "render", "glob": "src/*.py"}, ["[no match; text files searched: 1, binary files left out: 0]"]),
            ({"pattern": "render", "path": "src/web/page.js"}, ["src/web/page.js:1:function render() {}"]),
            ({"pattern": "import", "path": "latest"}, ["src/app.py:1:import os"]),
            ({"pattern": "hello", "path": ".git"}, [".git/config:1:hello = 1"]),
            ({"pattern": "nothing here"}, ["[no match; text files searched: 4, binary files left out: 1]"]),
            ({"pattern": "hello", "path": "logo.png"}, ["[no match; text files searched: 0, binary files left out: 1]"]),
        ],
    )
    def test_matches_come_with_their_place(self, root: Path, arguments: dict[str, object], expected: list[str]):
        assert Files(root).grep(**arguments).splitlines() == expected

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("(", "'(' is no regular expression here: unclosed group; set literal to search for it as plain text"),
            ("(?=a)", "look-around, including look-ahead and look-behind, is not supported; set literal"),
            (r"(a)\1", "backreferences are not supported; set literal"),
            (r"(\w{1,9}){1,999}", "counts too far; use smaller numbers in"),
            ("a{400}{400}", "counts too far"),
            ("a\nb", "holds a line break, and lines are searched one by one; search for one line of it"),
        ],
    )
    def test_a_pattern_that_cannot_be_searched_for_is_said(self, root: Path, pattern: str, message: str):
        with pytest.raises(ValueError, match=r".") as caught:
            Files(root).grep(pattern)

        assert message in str(caught.value)

    @pytest.mark.parametrize("pattern", [r"(a*)*b", r"(a|a)*b", r"(a+)+$b", r"([ab]{0,30}){0,20}c"])
    def test_no_pattern_takes_more_than_linear_time(self, root: Path, pattern: str):
        (root / "evil.txt").write_text(("a" * 2_000 + "\n") * 20)
        started = time.monotonic()

        found = Files(root).grep(pattern, "evil.txt")

        assert found.startswith("[no match")
        assert time.monotonic() - started < 5

    def test_a_long_line_is_shown_around_the_match(self, root: Path):
        (root / "min.js").write_text("x" * 10_000 + "needle" + "y" * 100_000)

        found = Files(root).grep("needle", "min.js", literal=True)

        assert found == f"min.js:1:…{'x' * 100}needle{'y' * 194}…"

    def test_far_along_a_line_only_plain_text_is_found(self, root: Path):
        (root / "min.js").write_text("x" * 3_000 + "needle")

        assert Files(root).grep("needle", "min.js").startswith("[no match")
        assert Files(root).grep("needle", "min.js", literal=True).endswith("xneedle")

    def test_the_first_matches_of_many_are_shown(self, root: Path):
        (root / "many.txt").write_text("needle\n" * 1_000)

        found = Files(root, max_results=3).grep("needle").splitlines()

        assert found == [
            "many.txt:1:needle",
            "many.txt:2:needle",
            "many.txt:3:needle",
            "[there is more; narrow the pattern or the path]",
        ]

    def test_compressed_files_are_not_text(self, root: Path):
        (root / "empty/log.gz").write_bytes(gzip.compress(b"needle\n" * 100, mtime=0))

        assert "binary files left out: 1" in Files(root).grep("needle", "empty")

    def test_what_is_no_regular_file_is_passed_over(self, root: Path):
        os.mkfifo(root / "aaa")
        (root / "aab").symlink_to("nowhere")

        assert Files(root).grep("hello") == 'src/app.py:5:    print("hello")'

    def test_a_file_that_vanishes_does_not_end_the_search(self, root: Path, monkeypatch: pytest.MonkeyPatch):
        real_open = os.open

        def open_after_loss(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if path == "README.md":
                (root / "README.md").unlink()
            return real_open(path, flags, mode, dir_fd=dir_fd)

        files = Files(root)
        monkeypatch.setattr(os, "open", open_after_loss)

        assert files.grep("hello") == 'src/app.py:5:    print("hello")\n[files that could not be read: 1]'

    def test_a_file_that_takes_too_long_leaves_what_was_found(self, root: Path):
        with (root / "zzz.txt").open("wb") as file:
            file.write(b"hello\n" * 2_000)
            file.truncate(1 << 40)

        found = Files(root, max_seconds=0.5, max_results=9_999).grep("hello").splitlines()

        assert found[0] == "zzz.txt:1:hello"
        assert found[-1] == "[incomplete: this took over 0.5 s; ask for less at once]"

    def test_a_search_that_takes_too_long_says_that_it_is_incomplete(self, root: Path):
        assert Files(root, max_seconds=1e-9).grep("hello").splitlines()[0] == "[incomplete: this took over 1e-09 s; ask for less at once]"


class TestSettingUp:
    def test_it_is_enabled_by_name(self, root: Path):
        toolset = plugins.tools("files", root=str(root), max_bytes="2000")

        assert [tool.name for tool in toolset.tools()] == ["read_file", "list_files", "grep"]

    def test_it_is_enabled_from_the_command_line(self, root: Path):
        toolset = plugins.tools_from(f'files:root={root},max_results=1,skip=["src",".git"]')

        assert isinstance(toolset, Files)
        assert toolset.grep("hello") == "node_modules/x.js:1:hello()"

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"max_bytes": 10}, "the setting 'max_bytes' does not fit; input should be greater than or equal to 1000"),
            ({"max_seconds": "nan"}, "the setting 'max_seconds' does not fit; input should be a finite number"),
            ({"rooot": "."}, "no setting 'rooot'; did you mean 'root'? Known: max_bytes, max_results, max_seconds, root, skip"),
            ({"root": "no/such"}, "the root 'no/such' is not a folder; create it, or give another root="),
        ],
    )
    def test_a_wrong_setting_is_said(self, setting: dict[str, object], message: str):
        with pytest.raises(PluginError) as caught:
            plugins.tools("files", **setting)

        assert message in str(caught.value)

    def test_two_folders_have_two_toolsets(self, root: Path, tmp_path: Path):
        one, two = Files(root / "src"), Files(root / "src/web")

        assert one.list_files() == "app.py\nweb/"
        assert two.list_files() == "page.js\npage.py"
