"""Nothing leads out of the root folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from agentloop_files.jail import Entry, Jail, said
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.errors import PluginError

SECRET = "the secret"


def furnish(base: Path) -> Path:
    """Make a folder with files, links and worse in it, and secrets around it."""
    root = base / "root"
    (root / "sub").mkdir(parents=True)
    (root / "note.txt").write_text("a note")
    (root / "sub" / "deep.txt").write_text("deep down")
    (root / "in.txt").symlink_to("sub/deep.txt")
    (root / "absolute_in.txt").symlink_to(root / "note.txt")
    (root / "insub").symlink_to("sub")
    (root / "out.txt").symlink_to("../secret.txt")
    (root / "absolute_out.txt").symlink_to(base / "secret.txt")
    (root / "outside").symlink_to(base)
    (root / "sibling").symlink_to(base / "root-evil")
    (root / "twice").symlink_to("outside/secret.txt")
    (root / "broken").symlink_to("nowhere")
    (root / "round").symlink_to("round")
    (root / "passwords").symlink_to("/etc/passwd")
    os.mkfifo(root / "pipe")
    (base / "root-evil").mkdir()
    for place in (base / "secret.txt", base / "root-evil" / "secret.txt"):
        place.write_text(SECRET)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return furnish(tmp_path)


@pytest.fixture(scope="module")
def lasting_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("lasting"))


def read(jail: Jail, path: str) -> str:
    with jail.file(jail.place(path)) as file:
        return file.read().decode()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("note.txt", "a note"),
        ("./note.txt", "a note"),
        ("sub/../note.txt", "a note"),
        ("sub//deep.txt", "deep down"),
        ("in.txt", "deep down"),
        ("insub/deep.txt", "deep down"),
        ("absolute_in.txt", "a note"),
    ],
)
def test_what_lies_below_the_root_is_read(root: Path, path: str, text: str):
    assert read(Jail.at(root), path) == text


def test_an_absolute_path_below_the_root_is_read(root: Path):
    assert read(Jail.at(root), str(root / "sub" / "deep.txt")) == "deep down"


def test_the_root_may_itself_be_a_link(root: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(root)

    assert read(Jail.at(tmp_path / "link"), "note.txt") == "a note"


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "sub/../../secret.txt",
        "..",
        "../root-evil/secret.txt",
        "sub/../../root-evil/secret.txt",
        "/etc/passwd",
        "//etc/passwd",
        "/",
        "/proc/self/environ",
        "/dev/stdin",
        "~",
        "~/secret.txt",
        "~root/.profile",
        "out.txt",
        "absolute_out.txt",
        "outside",
        "outside/secret.txt",
        "sibling/secret.txt",
        "twice",
        "passwords",
        "../no/such/file",
        "outside/no/such/file",
    ],
)
def test_what_lies_outside_is_refused_whether_it_exists_or_not(root: Path, tmp_path: Path, path: str):
    with pytest.raises(PermissionError, match="is outside the root folder; give a path relative to the root") as caught:
        read(Jail.at(root), path)

    assert str(tmp_path) not in str(caught.value)


def test_a_path_that_leaves_the_root_and_comes_back_by_a_link_is_refused(root: Path, tmp_path: Path):
    (tmp_path / "back").symlink_to(root)

    with pytest.raises(PermissionError, match="is outside the root folder"):
        read(Jail.at(root), "../back/note.txt")


def test_a_sibling_that_starts_with_the_roots_name_is_outside(root: Path):
    with pytest.raises(PermissionError, match="is outside the root folder"):
        read(Jail.at(root), f"{root}-evil/secret.txt")


@pytest.mark.parametrize("path", ["note.txt\0", "\0", "note\0.txt/../../secret.txt", "\ud800.txt"])
def test_what_is_no_path_is_refused(root: Path, path: str):
    with pytest.raises(ValueError, match="holds a character that no path has"):
        read(Jail.at(root), path)


def test_a_path_too_long_for_any_system_is_refused(root: Path):
    with pytest.raises(ValueError, match="the path has 1,000,000 characters; give one of at most 4,096"):
        read(Jail.at(root), "a/" * 500_000)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("", IsADirectoryError, "'.' is a folder; list_files shows what is in it"),
        ("sub", IsADirectoryError, "'sub' is a folder; list_files shows what is in it"),
        ("sub/depe.txt", FileNotFoundError, "there is no 'sub/depe.txt'; did you mean 'sub/deep.txt'?"),
        ("zzz", FileNotFoundError, "there is no 'zzz'; list_files shows what there is"),
        ("no/such/file", FileNotFoundError, "there is no 'no/such/file'; list_files shows what there is"),
        ("broken", FileNotFoundError, "there is no 'nowhere'; list_files shows what there is"),
        (
            "note.txt/x",
            NotADirectoryError,
            "'note.txt/x' is not a folder, or goes through something that is none; list_files shows what there is",
        ),
        ("round", PermissionError, "'round' is a link that cannot be followed; list_files shows what there is"),
        ("pipe", PermissionError, "'pipe' is a pipe, a socket, a device or the kernel's; only regular files can be read"),
        ("x" * 300, OSError, f"'{'x' * 300}' cannot be read: File name too long; try another"),
    ],
)
def test_what_cannot_be_read_says_so_without_the_machines_paths(root: Path, path: str, error: type[OSError], message: str):
    with pytest.raises(error) as caught:
        read(Jail.at(root), path)

    assert str(caught.value) == message


def test_a_socket_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")

        with pytest.raises(PermissionError, match="'socket' is a pipe, a socket"):
            read(Jail.at(root), "socket")


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="the system has no /dev/null")
def test_a_device_is_refused():
    with pytest.raises(PermissionError, match="'null' is a pipe, a socket, a device"):
        read(Jail.at("/dev"), "null")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system has no /proc")
def test_the_kernels_files_are_refused_though_they_look_regular():
    with pytest.raises(PermissionError, match=r"'\d+/environ' is .* the kernel's"):
        read(Jail.at("/proc"), "self/environ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(root: Path):
    (root / "note.txt").chmod(0)

    with pytest.raises(PermissionError, match=r"'note\.txt' cannot be read: Permission denied; try another"):
        read(Jail.at(root), "note.txt")


def test_a_folder_swapped_for_a_link_after_the_check_leads_nowhere(root: Path, tmp_path: Path):
    jail = Jail.at(root)
    (root / "sub" / "secret.txt").write_text("harmless")
    place = jail.place("sub/secret.txt")
    (root / "sub").rename(root / "moved")
    (root / "sub").symlink_to(tmp_path)

    with pytest.raises(NotADirectoryError), jail.file(place) as file:
        file.read()
    with pytest.raises(NotADirectoryError):
        jail.entries(place[:-1])


def test_a_file_swapped_for_a_link_after_the_check_is_refused(root: Path, tmp_path: Path):
    jail = Jail.at(root)
    place = jail.place("note.txt")
    (root / "note.txt").unlink()
    (root / "note.txt").symlink_to(tmp_path / "secret.txt")

    with pytest.raises(PermissionError, match=r"'note\.txt' is a link that cannot be followed"), jail.file(place) as file:
        file.read()


@pytest.mark.parametrize(
    ("swap", "error"),
    [
        (lambda path: path.symlink_to("../secret.txt"), OSError),
        (lambda path: path.symlink_to("sub"), OSError),
        (os.mkfifo, PermissionError),
        (lambda path: path.mkdir(), IsADirectoryError),
    ],
    ids=["link to a secret", "link to a folder", "pipe", "folder"],
)
def test_a_file_swapped_between_the_look_and_the_opening_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, swap: Callable[[Path], None], error: type[OSError]
):
    real_open = os.open

    def open_after_swap(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "note.txt":
            (root / "note.txt").unlink()
            swap(root / "note.txt")
        return real_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "supports_dir_fd", {*os.supports_dir_fd, open_after_swap})
    monkeypatch.setattr(os, "open", open_after_swap)

    with pytest.raises(error) as caught:
        read(Jail.at(root), "note.txt")

    assert str(caught.value).startswith("'note.txt' ")
    assert str(root) not in str(caught.value)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["..", ".", "", "sub", "outside", "sibling", "insub", "twice", "secret.txt", "note.txt", "root", "~", "etc"]),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(["", "/", "ROOT", "ROOT/"]),
)
def test_no_path_at_all_shows_what_is_outside(lasting_root: Path, names: list[str], start: str):
    start = start.replace("ROOT", str(lasting_root))

    try:
        text = read(Jail.at(lasting_root), start + "/".join(names))
    except OSError:
        return

    assert text in {"a note", "deep down"}


def test_a_folder_is_listed_by_name_with_the_kind_of_each_thing(root: Path):
    entries = Jail.at(root).entries(())

    assert [entry.name for entry in entries] == sorted(path.name for path in root.iterdir())
    assert {entry.name: entry.kind for entry in entries if not entry.name.startswith(("a", "o"))} == {
        "broken": "link",
        "in.txt": "link",
        "insub": "link",
        "note.txt": "file",
        "passwords": "link",
        "pipe": "special",
        "round": "link",
        "sibling": "link",
        "sub": "folder",
        "twice": "link",
    }
    assert Jail.at(root).entries(("sub",)) == [Entry("deep.txt", "file")]


def test_names_are_shown_so_that_they_cannot_break_a_line_or_the_json():
    assert said(("a\nb", "c\udcff\u202e")) == "a\\nb/c\\udcff\\u202e"
    assert said(()) == "."


@pytest.mark.parametrize("root", ["no/such/folder", "/dev/null", "~nobody-at-all/x", "a\0b"])
def test_a_root_that_is_no_folder_is_refused(root: str):
    with pytest.raises(PluginError, match="is not a folder; create it, or give another root="):
        Jail.at(root)


def test_no_descriptor_is_left_open(root: Path):
    jail = Jail.at(root)
    descriptors = Path("/dev/fd")
    before = len(list(descriptors.iterdir()))

    for path in ("note.txt", "sub/deep.txt", "pipe", "zzz", "sub", "round", "no/such"):
        try:
            read(jail, path)
        except OSError:
            continue
    jail.entries(())

    assert len(list(descriptors.iterdir())) == before
