"""The fixtures that users' own tests find."""

pytest_plugins = ["pytester"]

USERS_TEST = """
import httpx
import pytest

from agentloop.testing import says, status

BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
URLS = []


def test_two_gateways(scripted_gateway):
    first, second = scripted_gateway(says("One."), key="sk-test"), scripted_gateway(status(503))
    URLS.extend([first.base_url, second.base_url])

    with httpx.Client(trust_env=False) as client:
        answers = [
            client.post(f"{first.base_url}/chat/completions", json=BODY, headers={"authorization": "Bearer sk-test"}),
            client.post(f"{second.base_url}/chat/completions", json=BODY),
        ]

    assert [answer.status_code for answer in answers] == [200, 503]
    assert [len(gateway.requests) for gateway in (first, second)] == [1, 1]


def test_they_are_closed_with_their_test():
    with httpx.Client(trust_env=False) as client:
        for url in URLS:
            with pytest.raises(httpx.ConnectError):
                client.get(f"{url}/models")
    assert len(URLS) == 2
"""


def test_gateways_of_the_fixture_are_open_during_a_test_and_closed_after_it(pytester, monkeypatch):
    # The plugin is named below, so that the test is the same whether or not the package is installed.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(USERS_TEST)

    outcome = pytester.runpytest_inprocess("-p", "agentloop.testing.pytest_plugin", "-W", "error")

    outcome.assert_outcomes(passed=2)
