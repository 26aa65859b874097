"""Plugins are listed from metadata alone, and enabled only by name."""

from __future__ import annotations

import decimal
import sys
import traceback
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from agentloop import plugins
from agentloop.errors import PluginError

SHOP = """
import decimal
import pathlib
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from agentloop.tools.function import tool


@tool(effect="read")
def prices() -> str:
    "List the prices."
    return "apples 2"


@tool(effect="read")
def stock() -> str:
    "List what is there."
    return "apples"


def undecorated() -> str:
    "A function that nobody decorated."
    raise AssertionError("called before any model asked")


class Shop:
    def __init__(
        self,
        *,
        root: pathlib.Path = pathlib.Path("."),
        budget: Annotated[int, Field(ge=1)] = 10,
        key: SecretStr = SecretStr(""),
        brands: Sequence[str] = (),
        rate: decimal.Context | None = None,
    ) -> None:
        self.root, self.budget, self.key, self.brands, self.rate = root, budget, key, brands, rate

    def tools(self):
        return (prices, stock)


class Settings(BaseModel, extra="forbid"):
    budget: int
    key: str = ""


def by_model(**settings):
    return Shop(budget=Settings(**settings).budget)


def needs_city(*, city: str):
    return [prices]


def failing():
    raise OSError("the shop is closed")


def no_tools():
    return "prices"


everything = Shop()
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    (tmp_path / "shop_of_tests.py").write_text(SHOP)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("shop_"):
            del sys.modules[name]


def install(site: Path, name: str, entry_points: str, *, version: str = "1.2") -> None:
    """Write what an installer would leave behind."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text(entry_points)


def offers(group: str | None = "agentloop.tools") -> list[tuple[str, str]]:
    return [(plugin.name, plugin.distribution) for plugin in plugins.installed(group) if plugin.distribution.startswith("shop-")]


class TestListing:
    def test_it_says_who_offers_what(self, site: Path):
        install(site, "shop-tools", "[agentloop.tools]\nshop = shop_of_tests:Shop\n[console_scripts]\nshop = shop:main\n")

        listed = [plugin for plugin in plugins.installed() if plugin.distribution == "shop-tools"]

        assert listed == [
            plugins.Plugin(name="shop", group="agentloop.tools", distribution="shop-tools", version="1.2", value="shop_of_tests:Shop")
        ]

    def test_it_imports_nothing(self, site: Path):
        install(site, "shop-tools", "[agentloop.tools]\nshop = shop_of_tests:Shop\n")

        found = offers()

        assert found == [("shop", "shop-tools")]
        assert "shop_of_tests" not in sys.modules

    def test_a_group_lists_its_own_plugins_only(self, site: Path):
        install(site, "shop-tools", "[agentloop.tools]\nshop = a:b\n[agentloop.journals]\nbook = a:c\n")

        assert offers("agentloop.journals") == [("book", "shop-tools")]
        assert offers(None) == [("book", "shop-tools"), ("shop", "shop-tools")]

    def test_an_unknown_group_is_refused_with_the_known_ones(self):
        with pytest.raises(PluginError, match=r"no group 'agentloop\.tool'; known: agentloop\.tools, agentloop\.providers"):
            plugins.installed("agentloop.tool")

    @pytest.mark.parametrize("line", ["shop", "shop =", "shop = not a module", "shop = shop_of_tests:"])
    def test_a_broken_entry_is_listed_with_its_cause_and_hurts_no_other(self, site: Path, line: str):
        install(site, "shop-broken", f"[agentloop.tools]\n{line}\n")
        install(site, "shop-tools", "[agentloop.tools]\nother = shop_of_tests:Shop\n")

        listed = {plugin.name: plugin.cause for plugin in plugins.installed("agentloop.tools") if plugin.distribution.startswith("shop-")}

        assert listed["other"] is None
        assert "not 'module:attribute'" in (listed["shop"] or "")

    def test_entry_points_that_are_not_text_are_listed_with_their_cause(self, site: Path):
        install(site, "shop-broken", "")
        next(site.glob("*/entry_points.txt")).write_bytes(b"[agentloop.tools]\n\xff\xfe = x:y\n")

        broken = [plugin for plugin in plugins.installed() if plugin.distribution == "shop-broken"]

        assert [(plugin.name, plugin.version) for plugin in broken] == [("shop-broken", "1.2")]
        assert "entry_points.txt" in (broken[0].cause or "")

    @pytest.mark.parametrize("about", [b"", b"Version: 3\n", b"Name: \xff\n"])
    def test_a_package_that_does_not_say_its_name_is_listed_all_the_same(self, site: Path, about: bytes):
        install(site, "shop-nameless", "[agentloop.tools]\nshop_nameless = shop_of_tests:Shop\n")
        next(site.glob("*/METADATA")).write_bytes(about)

        assert [plugin.distribution for plugin in plugins.installed() if plugin.name == "shop_nameless"] == ["a package without a name"]

    def test_comments_and_foreign_groups_are_passed_over(self, site: Path):
        install(
            site, "shop-tools", "# agentloop.tools\n[pytest11]\nx = y\n[agentloop.tools]\n; a word\n# another\n\nshop=a.b:c.d [extra]\n"
        )

        assert [(p.name, p.value, p.cause) for p in plugins.installed() if p.distribution == "shop-tools"] == [
            ("shop", "a.b:c.d [extra]", None)
        ]

    def test_of_two_versions_of_a_package_the_first_on_the_path_counts(self, site: Path, monkeypatch: pytest.MonkeyPatch):
        install(site / "later", "shop-tools", "[agentloop.tools]\nold = a:b\n", version="1.0")
        install(site / "first", "Shop_Tools", "[agentloop.tools]\nnew = a:b\n", version="2.0")
        monkeypatch.syspath_prepend(site / "later")
        monkeypatch.syspath_prepend(site / "first")

        found = [plugin.name for plugin in plugins.installed() if plugin.name in {"old", "new"}]

        assert found == ["new"]


class TestEnabling:
    @pytest.fixture(autouse=True)
    def shop(self, site: Path) -> None:
        install(
            site,
            "shop-tools",
            "[agentloop.tools]\n"
            "shop = shop_of_tests:Shop\n"
            "shop_tool = shop_of_tests:prices\n"
            "shop_toolset = shop_of_tests:everything\n"
            "shop_model = shop_of_tests:by_model\n"
            "shop_city = shop_of_tests:needs_city\n"
            "shop_failing = shop_of_tests:failing\n"
            "shop_no_tools = shop_of_tests:no_tools\n"
            "shop_gone = shop_that_is_gone:Shop\n"
            "shop_leaving = shop_that_leaves\n"
            "shop_broken = not a module\n"
            "[agentloop.journals]\n"
            "shop_book = shop_of_tests:SHOP_BOOK.title\n",
        )
        (site / "shop_that_leaves.py").write_text("import sys\nsys.exit('bye')\n")

    @pytest.mark.parametrize(
        ("name", "settings", "expected"),
        [
            ("shop", {}, ["prices", "stock"]),
            ("shop_tool", {}, ["prices"]),
            ("shop_toolset", {}, ["prices", "stock"]),
            ("shop_model", {"budget": "3"}, ["prices", "stock"]),
            ("shop_city", {"city": "Rome"}, ["prices"]),
        ],
    )
    def test_a_tool_a_toolset_and_a_factory_all_give_a_toolset(self, name: str, settings: dict[str, str], expected: list[str]):
        toolset = plugins.tools(name, **settings)

        assert [tool.name for tool in toolset.tools()] == expected

    def test_settings_arrive_as_their_annotations_say(self):
        shop = plugins.tools("shop", root="there", budget="3", key="sesame", brands='["a", "b"]')

        assert shop.root == Path("there")
        assert shop.budget == 3
        assert shop.key.get_secret_value() == "sesame"
        assert shop.brands == ["a", "b"]

    def test_a_setting_of_a_type_pydantic_does_not_know_is_checked_and_passed_on(self):
        rate = decimal.Context()

        assert plugins.tools("shop", rate=rate).rate is rate
        with pytest.raises(PluginError, match=r"'rate'.*instance of Context"):
            plugins.tools("shop", rate="fast")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"budget": "x"}, "the setting 'budget' does not fit; input should be a valid integer, unable to parse string as an integer"),
            ({"budget": 0}, "the setting 'budget' does not fit; input should be greater than or equal to 1"),
            ({"brands": ["a", 2]}, "the setting 'brands.1' does not fit; input should be a valid string"),
            ({"bugdet": 1}, "no setting 'bugdet'; did you mean 'budget'? Known: brands, budget, key, rate, root"),
            ({"self": 1}, "no setting 'self'; known: brands, budget, key, rate, root"),
        ],
    )
    def test_a_wrong_setting_is_named_with_what_was_expected(self, settings: dict[str, object], message: str):
        with pytest.raises(PluginError) as caught:
            plugins.tools("shop", **settings)

        assert str(caught.value) == f"plugin 'shop' of shop-tools 1.2: {message}"

    def test_a_missing_setting_is_named(self):
        with pytest.raises(PluginError, match=r"plugin 'shop_city' of shop-tools 1.2: the setting 'city' is missing; give city="):
            plugins.tools("shop_city")

    @pytest.mark.parametrize("name", ["shop_tool", "shop_toolset"])
    def test_what_is_no_factory_takes_no_settings(self, name: str):
        with pytest.raises(PluginError, match="has no settings; leave out 'city'"):
            plugins.tools(name, city="Rome")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"budget": "x"}, "the setting 'budget' does not fit; input should be a valid integer"),
            ({"budget": 1, "city": "Rome"}, "the setting 'city' does not fit; extra inputs are not permitted"),
        ],
    )
    def test_a_factory_may_leave_its_settings_to_a_pydantic_model(self, settings: dict[str, object], message: str):
        with pytest.raises(PluginError, match=message):
            plugins.tools("shop_model", **settings)

    @pytest.mark.parametrize(("name", "settings"), [("shop", {"key": ["sesame"]}), ("shop_model", {"budget": 1, "key": ["sesame"]})])
    def test_the_value_of_a_wrong_setting_is_not_shown(self, name: str, settings: dict[str, object]):
        with pytest.raises(PluginError, match="'key'") as caught:
            plugins.tools(name, **settings)

        assert "sesame" not in "".join(traceback.format_exception(caught.value))

    def test_an_unknown_name_is_answered_with_the_nearest_and_the_list(self):
        with pytest.raises(PluginError, match=r"no plugin 'shoop'; did you mean 'shop'\? Known: .*shop, shop_broken, shop_city"):
            plugins.tools("shoop")

    @pytest.mark.parametrize(
        ("name", "message", "cause"),
        [
            ("shop_gone", "loaded: ModuleNotFoundError: No module named 'shop_that_is_gone'; update or uninstall shop-tools", ImportError),
            ("shop_leaving", "loaded: SystemExit: bye; update or uninstall shop-tools", SystemExit),
            ("shop_failing", "set up: OSError: the shop is closed; look at its settings", OSError),
        ],
    )
    def test_a_plugin_that_fails_is_an_error_only_where_it_is_named(self, name: str, message: str, cause: type[BaseException]):
        assert (name, "shop-tools") in offers()

        with pytest.raises(PluginError) as caught:
            plugins.tools(name)

        assert str(caught.value) == f"plugin {name!r} of shop-tools 1.2 cannot be {message}"
        assert isinstance(caught.value.__cause__, cause)

    def test_a_plugin_whose_metadata_is_broken_is_an_error_where_it_is_named(self):
        with pytest.raises(PluginError, match=r"plugin 'shop_broken' of shop-tools 1.2 is broken: its entry point is 'not a module'"):
            plugins.tools("shop_broken")

    def test_what_is_no_tool_is_refused(self):
        with pytest.raises(PluginError, match=r"plugin 'shop_no_tools' of shop-tools 1.2 gives a str; offer a tool"):
            plugins.tools("shop_no_tools")

    def test_a_name_that_two_packages_offer_is_refused_until_one_is_chosen(self, site: Path):
        install(site, "shop-evil", "[agentloop.tools]\nshop = shop_of_tests:prices\n", version="9")

        with pytest.raises(PluginError, match=r"plugin 'shop' is offered by shop-evil 9 and shop-tools 1.2; choose one with distribution="):
            plugins.tools("shop")
        assert len(plugins.tools("shop", distribution="Shop_Tools").tools()) == 2
        with pytest.raises(PluginError, match="no plugin of 'shop-other' 'shop'"):
            plugins.tools("shop", distribution="shop-other")

    def test_any_group_can_be_loaded(self, site: Path):
        (site / "shop_of_tests.py").write_text("class SHOP_BOOK:\n    title = 'sales'\n")

        assert plugins.load("agentloop.journals", "shop_book") == "sales"


class TestTheCommandLine:
    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            ("files", ("files", None, {})),
            ("my-files", ("my-files", None, {})),
            ("files:root=.,max_bytes=1000", ("files", None, {"root": ".", "max_bytes": "1000"})),
            ("files:root=/a,b,max_bytes=1", ("files", None, {"root": "/a,b", "max_bytes": "1"})),
            ("files:root=C:\\a=b", ("files", None, {"root": "C:\\a=b"})),
            ("files:root=", ("files", None, {"root": ""})),
            ("files:root=.:", ("files", None, {"root": ".:"})),
            ('sql:tables=["a","b"],path=x.db', ("sql", None, {"tables": '["a","b"]', "path": "x.db"})),
            ("sql:note=two\nlines", ("sql", None, {"note": "two\nlines"})),
            ("mytools:get_weather", ("mytools", "get_weather", {})),
            ("path.to.module:Shop.inner", ("path.to.module", "Shop.inner", {})),
            ("mytools:Shop:city=Rome,url=http://x:1/?a=b", ("mytools", "Shop", {"city": "Rome", "url": "http://x:1/?a=b"})),
        ],
    )
    def test_it_names_tools_and_their_settings(self, spec: str, expected: tuple[str, str | None, dict[str, str]]):
        read = plugins.parse(spec)

        assert (read.source, read.attribute, dict(read.settings)) == expected

    @pytest.mark.parametrize("spec", ["", ":", "files:", ":root=.", "a b", "root=.", "files:1", "files,web", "a:b:c"])
    def test_what_names_no_tools_is_refused(self, spec: str):
        with pytest.raises(PluginError, match="names no tools; write 'plugin', 'plugin:setting=value"):
            plugins.parse(spec)

    def test_a_setting_given_twice_is_refused(self):
        with pytest.raises(PluginError, match="'files:root=a,root=b' has the setting 'root' twice; give it once"):
            plugins.parse("files:root=a,root=b")

    def test_it_enables_a_plugin_with_settings(self, site: Path):
        install(site, "shop-tools", "[agentloop.tools]\nshop = shop_of_tests:Shop\n")

        assert plugins.tools_from("shop:budget=3").budget == 3

    def test_a_name_that_two_packages_offer_is_chosen_by_distribution(self, site: Path):
        install(site, "shop-tools", "[agentloop.tools]\nshop = shop_of_tests:Shop\n")
        install(site, "shop-evil", "[agentloop.tools]\nshop = shop_of_tests:prices\n")

        assert len(plugins.tools_from("shop:distribution=shop-tools").tools()) == 2

    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            ("shop_of_tests:prices", ["prices"]),
            ("shop_of_tests:everything", ["prices", "stock"]),
            ("shop_of_tests:Shop", ["prices", "stock"]),
            ("shop_of_tests:Shop:budget=3", ["prices", "stock"]),
        ],
    )
    @pytest.mark.usefixtures("site")
    def test_it_reaches_tools_in_any_module(self, spec: str, expected: list[str]):
        assert [tool.name for tool in plugins.tools_from(spec).tools()] == expected

    @pytest.mark.usefixtures("site")
    def test_a_plain_function_is_not_called_but_refused(self):
        with pytest.raises(PluginError, match="'shop_of_tests:undecorated' is a plain function; decorate it with @tool"):
            plugins.tools_from("shop_of_tests:undecorated")

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("shop_of_nobody:x", "'shop_of_nobody:x' cannot be loaded: ModuleNotFoundError: No module named 'shop_of_nobody'"),
            ("shop_of_tests:pices", "cannot be loaded: AttributeError: module 'shop_of_tests' has no attribute 'pices'"),
            ("shop/x.py:prices", "'shop/x.py:prices' names no Python module; write 'module:attribute', or 'plugin:setting=value'"),
            ("shop_of_tests:SETTINGS", "has no attribute 'SETTINGS'"),
            ("shop_of_tests:Settings:budget=1", "'shop_of_tests:Settings' gives a Settings; offer a tool"),
        ],
    )
    @pytest.mark.usefixtures("site")
    def test_a_target_that_gives_no_tools_is_refused(self, spec: str, message: str):
        with pytest.raises(PluginError, match=message):
            plugins.tools_from(spec)


def test_the_files_plugin_is_found_where_it_is_installed(tmp_path: Path):
    try:
        metadata.distribution("agentloop-files")
    except metadata.PackageNotFoundError:
        pytest.skip("agentloop-files is not installed; scripts/install does it")
    (tmp_path / "note.txt").write_text("hello")

    files = plugins.tools("files", root=tmp_path)

    assert [tool.name for tool in files.tools()] == ["read_file", "list_files", "grep"]
