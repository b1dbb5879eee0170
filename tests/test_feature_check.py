"""Each rule of `marquee features check` against a planted defect; the repository itself is clean."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import mmh3
import pytest
from feast import FeatureService, FeatureView, Field, FileSource
from feast.types import Array, Float32, String

from feature_repo.entities import item, user
from feature_repo.workspace import Workspace
from materialization.declared import BatchView
from materialization.feature_check.check import check_features, declaration_problems
from materialization.feature_check.declarations import Declarations
from materialization.feature_check.problem import Problem

WHOLE = Declarations.of_repository()


def described(name: str, dtype: Any = Float32, **tags: str) -> Field:
    return Field(name=name, dtype=dtype, description="a number", tags={"default": "nan", **tags})


def view(name: str, *fields: Field, entities: Iterable[Any] = (user,), **values: Any) -> FeatureView:
    return FeatureView(
        name=name,
        description="planted",
        entities=list(entities),
        schema=list(fields),
        source=FileSource(name=f"{name}_source", path="/nowhere", timestamp_field="event_timestamp"),
        **{"ttl": timedelta(days=2), **values},
    )


def planted(folder: Path, *views: FeatureView, sql: dict[str, str] | None = None) -> Declarations:
    """The repository with these views (in its service, too) and these queries added, or written anew."""
    shutil.copytree(WHOLE.sql, folder / "sql")
    texts = {one.name: "SELECT user_id, 1.0 AS planted FROM current_users" for one in views} | (sql or {})
    for name, text in texts.items():
        (folder / "sql" / f"{name}.sql").write_text(text)
    names = {one.name for one in views}
    kept = [one for one in WHOLE.views if one.name not in names]
    all_views = [*kept, *(BatchView(one, Path()) for one in views)]
    moved = tuple(replace(one, sql_path=folder / "sql" / f"{one.name}.sql") for one in all_views)
    return replace(WHOLE, views=moved, sql=folder / "sql")


def only(declared: Declarations) -> Problem:
    """The one problem there is, so that no other rule is mistaken either."""
    problems = declaration_problems(declared)
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]


def test_the_repository_is_clean(tmp_path: Path) -> None:
    assert [str(problem) for problem in check_features(Workspace(tmp_path))] == []


def test_a_copy_of_the_queries_with_a_sound_view_added_is_clean(tmp_path: Path) -> None:
    assert declaration_problems(planted(tmp_path, view("extra", described("planted")))) == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT user_id, nonsense AS planted FROM current_users", "nonsense"),
        ("SELEKT user_id", "Parser Error"),
        ("SELECT user_id, 1.0 AS planted FROM truth", "truth"),
        (
            "SELECT user_id, 1.0 AS renamed FROM current_users",
            "has renamed, which view extra does not declare",
        ),
        ("SELECT user_id FROM current_users", "lacks planted, which view extra declares"),
        ("SELECT 1.0 AS planted", "lacks user_id, which view extra declares"),
        ("SELECT user_id, 'x' AS planted FROM current_users", "planted is string, view extra declares float"),
        ("SELECT user_id, [1.0] AS planted FROM current_users", "declares float"),
        ("SELECT user_id, now() - now() AS planted FROM current_users", "declares float"),
        ("CREATE TEMP VIEW v AS SELECT 1", "lacks planted"),
        ("", "is no query"),
    ],
)
def test_a_query_that_does_not_fit_its_view_is_named(tmp_path: Path, query: str, message: str) -> None:
    declared = planted(tmp_path, view("extra", described("planted")), sql={"extra": query})
    problems = declaration_problems(declared)
    assert {problem.where for problem in problems} == {"sql/extra.sql"}
    assert message in "\n".join(problem.what for problem in problems)


def test_all_misfits_of_all_queries_are_reported_at_once(tmp_path: Path) -> None:
    broken = dict.fromkeys(("user_totals", "item_totals", "user_item"), "SELECT 1 AS one")
    wheres = [problem.where for problem in declaration_problems(planted(tmp_path, sql=broken))]
    assert set(wheres) == {"sql/user_totals.sql", "sql/item_totals.sql", "sql/user_item.sql"}
    assert len(wheres) > 30


def test_a_broken_prelude_is_one_problem(tmp_path: Path) -> None:
    assert only(planted(tmp_path, sql={"_prelude": "CREATE MACRO ("})).where == "sql/_prelude.sql"


@pytest.mark.parametrize("word", ["now()", "current_date", "random( )", "Today()"])
def test_a_query_that_asks_the_clock_or_chance_is_named(tmp_path: Path, word: str) -> None:
    query = (
        f"SELECT user_id, 1.0 AS planted FROM current_users WHERE {word} IS NOT NULL -- not now(), 'random()'"
    )
    problems = declaration_problems(
        planted(tmp_path, view("extra", described("planted")), sql={"extra": query})
    )
    assert any("changes by itself" in problem.what for problem in problems)


def test_numbers_fit_numbers_and_lists_fit_lists(tmp_path: Path) -> None:
    fields = (
        described("planted"),
        described("names", Array(String), default="[]"),
        described("word", String, default=""),
    )
    columns = "true AS planted, [1.5::DECIMAL(3,1)] AS weights, ['a'] AS names, 3 AS word"
    query = f"SELECT user_id, {columns} FROM current_users"
    weights = described("weights", Array(Float32), default="[]")
    assert (
        declaration_problems(planted(tmp_path, view("extra", *fields, weights), sql={"extra": query})) == []
    )


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (Field(name="planted", dtype=Float32, tags={"default": "nan"}), "planted has no description"),
        (
            Field(name="planted", dtype=Float32, description=" ", tags={"default": "nan"}),
            "has no description",
        ),
        (Field(name="planted", dtype=Float32, description="x"), "planted declares no default"),
        (described("planted", default="none"), "default 'none' is not a number"),
        (described("planted", tolerance="-1"), "tolerance '-1'"),
        (described("planted", tolerance="loose"), "tolerance 'loose'"),
        (described("planted", role="inputs"), "role 'inputs' is unknown"),
    ],
)
def test_a_field_that_lacks_meaning_or_default_is_named(tmp_path: Path, field: Field, message: str) -> None:
    problem = only(planted(tmp_path, view("extra", field)))
    assert problem.where == "view extra"
    assert message in problem.what


def test_fields_of_on_demand_views_and_of_the_request_are_held_to_the_same() -> None:
    wheres = {where for where, _ in WHOLE.owned_fields()}
    assert "request source" in wheres
    assert {f"on-demand view {one.name}" for one in WHOLE.on_demand_views} < wheres


def test_a_view_without_description_is_named(tmp_path: Path) -> None:
    bare = view("extra", described("planted"))
    bare.description = ""
    assert only(planted(tmp_path, bare)).what == "has no description"


def test_a_cadence_that_cannot_be_read_or_outlives_the_rows_is_named(tmp_path: Path) -> None:
    unreadable = view("extra", described("planted"), tags={"cadence": "daily"})
    assert "'daily'" in only(planted(tmp_path / "a", unreadable)).what
    short = view("extra", described("planted"), tags={"cadence": "6h"}, ttl=timedelta(hours=1))
    assert "rows expire after 1:00:00 but are made every 6:00:00" in only(planted(tmp_path / "b", short)).what


def in_service(declared: Declarations, *views: FeatureView) -> Declarations:
    """The declarations with the views in the service, too."""
    whole = WHOLE.services[0]
    service = FeatureService(name=whole.name, features=[])
    service.feature_view_projections = [*whole.feature_view_projections, *(one.projection for one in views)]
    return replace(declared, services=(service,))


def test_a_feature_name_that_two_views_share_is_named_with_both(tmp_path: Path) -> None:
    twin = view("extra", described("user_exposures"))
    declared = planted(
        tmp_path, twin, sql={"extra": "SELECT user_id, 1 AS user_exposures FROM current_users"}
    )
    assert declaration_problems(declared) == []
    assert only(
        in_service(declared, twin)
    ).what == "feature user_exposures stands in extra and user_totals" or (
        only(in_service(declared, twin)).what == "feature user_exposures stands in user_totals and extra"
    )


@pytest.mark.parametrize("name", ["item_id", "row_id", "label", "surface", "request_timestamp"])
def test_a_feature_named_like_a_key_or_a_column_of_the_join_is_named(tmp_path: Path, name: str) -> None:
    declared = planted(
        tmp_path,
        view("extra", described(name)),
        sql={"extra": f'SELECT user_id, 1 AS "{name}" FROM current_users'},
    )
    assert only(declared).what.startswith(f"{name} is also")


def colliding() -> tuple[str, str]:
    """Two feature names, one in each of two views, that the online store puts in one place."""
    places: dict[int, str] = {}
    for number in count():
        for owner in ("left", "right"):
            name = f"{owner}:f{number}"
            other = places.setdefault(mmh3.hash(name, signed=False), name)
            if other.split(":")[0] != owner:
                return (other, name) if owner == "right" else (name, other)
    raise AssertionError


def test_features_that_the_online_store_would_mix_up_are_named(tmp_path: Path) -> None:
    names = [name.split(":")[1] for name in colliding()]

    def both(second_key: Any) -> list[Problem]:
        key = second_key.join_key
        views = view("left", described(names[0])), view("right", described(names[1]), entities=[second_key])
        sql = {
            "left": f"SELECT user_id, 1 AS {names[0]} FROM current_users",
            "right": f"SELECT {key}, 1 AS {names[1]} FROM exposures",
        }
        return declaration_problems(planted(tmp_path / key, *views, sql=sql))

    (problem,) = both(user)
    assert "have the same hash" in problem.what
    assert all(name in problem.what for name in colliding())
    assert both(item) == [], "other join keys lie in another hash"


def test_a_service_that_lists_a_view_that_is_gone_is_named() -> None:
    without = replace(WHOLE, views=tuple(one for one in WHOLE.views if one.name != "user_rhythm"))
    problems = declaration_problems(without)
    assert "lists view user_rhythm, which is not declared" in [problem.what for problem in problems]
    assert "sql/user_rhythm.sql" in [problem.where for problem in problems], "and its query belongs to nobody"


def test_an_on_demand_view_without_its_source_in_the_service_is_named() -> None:
    service = FeatureService(name="narrow", features=[])
    service.feature_view_projections = [
        one for one in WHOLE.services[0].feature_view_projections if one.name != "item_genre"
    ]
    assert (
        "lists on-demand view user_item_match without its source item_genre"
        in only(replace(WHOLE, services=(service,))).what
    )


def test_a_query_without_view_and_a_view_without_query_are_named(tmp_path: Path) -> None:
    declared = planted(tmp_path, sql={"orphan": "SELECT 1"})
    (tmp_path / "sql" / "user_totals.sql").unlink()
    found = {(problem.where, problem.what) for problem in declaration_problems(declared)}
    assert found == {
        ("view user_totals", "has no query sql/user_totals.sql"),
        ("sql/orphan.sql", "belongs to no declared view"),
    }


def test_a_transform_without_view_and_a_view_without_transform_are_named() -> None:
    functions = {name: one for name, one in WHOLE.transforms.items() if name != "surface_fit"}
    found = declaration_problems(replace(WHOLE, transforms={**functions, "orphan": len}))
    assert {problem.where for problem in found} == {"transform orphan", "on-demand view surface_fit"}


def test_a_view_that_definitions_does_not_import_is_named() -> None:
    module = ModuleType("feature_repo.session_views")
    vars(module)["session"] = view("session", described("planted"))
    problem = only(replace(WHOLE, modules=(*WHOLE.modules, module)))
    assert problem.where == "session_views.py"
    assert "declares session, which definitions.py does not import" in problem.what


def test_an_import_that_all_lacks_is_named() -> None:
    module = ModuleType("definitions")
    vars(module).update(vars(WHOLE.definitions))
    vars(module)["__all__"] = [name for name in WHOLE.definitions.__all__ if name != "user_item"]
    assert only(replace(WHOLE, definitions=module)).what == "imports user_item but __all__ lacks it"


def test_a_view_of_an_unknown_entity_is_named() -> None:
    problems = declaration_problems(
        replace(WHOLE, entities=tuple(one for one in WHOLE.entities if one is not item))
    )
    assert "is keyed by item, which is no declared entity" in [problem.what for problem in problems]


@pytest.mark.parametrize("kind", ["views", "services", "entities"])
def test_two_declarations_of_one_name_are_named(kind: str) -> None:
    doubled = replace(WHOLE, **{kind: (*getattr(WHOLE, kind), getattr(WHOLE, kind)[0])})
    assert "is declared 2 times" in [problem.what for problem in declaration_problems(doubled)]


@pytest.mark.parametrize("measure", [lambda problem: problem.what, lambda problem: problem.mend])
def test_every_problem_says_what_and_the_way_out(tmp_path: Path, measure: Callable[[Problem], str]) -> None:
    broken = planted(
        tmp_path, view("extra", Field(name="label", dtype=Float32)), sql={"user_item": "SELECT 1"}
    )
    assert all(measure(problem) for problem in declaration_problems(broken))
