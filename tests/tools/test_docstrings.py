"""What a docstring says of a tool and of its parameters, in each style."""

from __future__ import annotations

import pytest

from agentloop.tools.context import Context
from agentloop.tools.docstrings import read_docstring
from agentloop.tools.function import tool

# style, docstring, description, parameters
STYLES: list[tuple[str, str, str, dict[str, str]]] = [
    ("one line", "Add numbers.", "Add numbers.", {}),
    ("prose with colons", "Add: two numbers.\n\nFor example: 1 and 2.", "Add: two numbers.\n\nFor example: 1 and 2.", {}),
    (
        "google",
        """Add numbers.

        All of them,
        always.

        Args:
            a: The first: a number.
            b (int, optional): The second
                on two lines.
            *rest: The rest.
            **named: The named.

        Returns:
            The sum.

        Raises:
            ValueError: If they are none.

        Example:
            >>> add(1, 2)
        """,
        "Add numbers.\n\nAll of them,\nalways.",
        {"a": "The first: a number.", "b": "The second\non two lines.", "rest": "The rest.", "named": "The named."},
    ),
    (
        "google with asides between and after",
        """Add.

        Note:
            Before.

        Args:
            a: A.

        Warning:
            Not on Sundays.

        Returns:
            int: The sum.

        Side effects:
            None.

        The end.
        """,
        "Add.\n\nNote:\n    Before.\n\nWarning:\n    Not on Sundays.\n\nSide effects:\n    None.\n\nThe end.",
        {"a": "A."},
    ),
    (
        "google in two sections",
        "Add.\n\nArgs:\n    a: A.\n\nKeyword Args:\n    b: B.\n",
        "Add.",
        {"a": "A.", "b": "B."},
    ),
    ("google without prose", "Args:\n        a: A.\n          More.\n        b: B.\n    ", "", {"a": "A.\nMore.", "b": "B."}),
    ("google without indent", "Add.\n\nArgs:\na: A.\nb: B.\n\nThe end.", "Add.\n\nThe end.", {"a": "A.", "b": "B."}),
    ("google without a colon", "Add.\n\nArgs:\n    nothing to say\n", "Add.", {}),
    (
        "numpy",
        """Add numbers.

        All of them.

        Parameters
        ----------
        a, b : int
            Both of them.
        c : str, optional
            The third.
        *rest
            The rest.

        Returns
        -------
        int
            The sum.

        Notes
        -----
        Slowly.

        See Also
        --------
        subtract
        """,
        "Add numbers.\n\nAll of them.\n\nNotes\n-----\nSlowly.",
        {"a": "Both of them.", "b": "Both of them.", "c": "The third.", "rest": "The rest."},
    ),
    (
        "numpy with other parameters",
        "Add.\n\nParameters\n----------\na\n    A.\n\nOther Parameters\n----------------\nb\n    B.\n",
        "Add.",
        {"a": "A.", "b": "B."},
    ),
    (
        "reST",
        """Add numbers.

        All of them.

        :param a: The first
            on two lines.
        :param int b: The second.
        :type a: int
        :raises ValueError: If they are none.
        :returns: The sum.
        :rtype: int

        .. warning:: Slowly.
        """,
        "Add numbers.\n\nAll of them.\n\n.. warning:: Slowly.",
        {"a": "The first\non two lines.", "b": "The second."},
    ),
    ("reST that is not indented", "Add.\n\n:param a: A\ngoes on.\n:return: no", "Add.", {"a": "A\ngoes on."}),
    (
        "epydoc",
        """Add numbers.

        @param a: The first
            on two lines.
        @type a: int
        @param b: The second.
        @return: The sum.
        @raise ValueError: If they are none.
        """,
        "Add numbers.",
        {"a": "The first\non two lines.", "b": "The second."},
    ),
    ("an e-mail is no epydoc", "Write to\n@ada: she knows.", "Write to\n@ada: she knows.", {}),
]


@pytest.mark.parametrize(("docstring", "description", "parameters"), [case[1:] for case in STYLES], ids=[case[0] for case in STYLES])
def test_a_docstring_is_read_in_its_style(docstring: str, description: str, parameters: dict[str, str]):
    read = read_docstring(docstring)

    assert read.description == description
    assert read.parameters == parameters


def test_no_docstring_says_nothing():
    assert read_docstring(None).description == ""


def test_the_docstring_reaches_the_model_and_that_of_a_context_does_not():
    @tool
    def book(city: str, nights: int, *, context: Context) -> None:
        """Book a room.

        Parameters
        ----------
        city, nights : object
            Where, and how long.
        context
            The run.
        """

    properties = book.description.parameters["properties"]

    assert book.description.description == "Book a room."
    assert properties == {
        "city": {"type": "string", "description": "Where, and how long."},
        "nights": {"type": "integer", "description": "Where, and how long."},
    }


def test_a_description_that_is_given_goes_before_the_docstring():
    @tool(description="Do it.")
    def act(x: int) -> None:
        """Something else.

        Args:
            x: A number.
        """

    assert act.description.description == "Do it."
    assert act.description.parameters["properties"]["x"]["description"] == "A number."


def test_an_argument_with_nothing_behind_its_colon_has_no_description():
    described = read_docstring("Look.\n\nArgs:\n    city: \n    day: Which.")

    assert described.parameters == {"day": "Which."}
