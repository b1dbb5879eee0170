"""The seeded defects, each with what a right report says of it."""

from __future__ import annotations

from skew_checks.bench import log_defects, offline_defects, server_defects
from skew_checks.bench.controls import CONTROLS
from skew_checks.bench.defect import Defect, Where
from skew_checks.bench.seeded_rows import OLD_ROWS
from skew_checks.bench.seeded_values import VALUES
from skew_checks.bench.view_names import ITEM_VIEWS, USER_VIEWS
from skew_checks.result.cause import Cause

OFFLINE, SERVER, LOG = Where.OFFLINE, Where.SERVER, Where.LOG

MACHINERY = (
    Defect(
        "altered-default",
        "the server fills another default",
        SERVER,
        ("user_item",),
        ("pair_exposures",),
        (Cause.DEFAULT_FILL,),
        server_defects.altered_default,
    ),
    Defect(
        "dictionary-off-by-one",
        "every code one too high",
        SERVER,
        ("item_attributes",),
        ("item_first_genre",),
        (Cause.CATEGORY_DICTIONARY,),
        server_defects.dictionary_off_by_one,
    ),
    Defect(
        "unseen-to-other",
        "a new category gets another's code",
        SERVER,
        ("item_attributes",),
        ("item_type",),
        (Cause.CATEGORY_DICTIONARY,),
        server_defects.unseen_to_other,
    ),
    Defect(
        "column-order",
        "two columns of the model exchanged",
        SERVER,
        ("item_popularity", "user_activity"),
        ("item_click_rate_7d", "user_click_rate_7d"),
        (Cause.ASSEMBLY,),
        server_defects.column_order,
    ),
    Defect(
        "rotated-candidates",
        "rows come back one candidate further",
        SERVER,
        (*ITEM_VIEWS, "user_item"),
        (),
        (Cause.OTHER_ROW,),
        server_defects.rotated_candidates,
    ),
    Defect(
        "crossed-users",
        "two requests get each other's user",
        SERVER,
        (*USER_VIEWS, "user_item"),
        (),
        (Cause.OTHER_ROW,),
        server_defects.crossed_users,
    ),
    Defect(
        "offline-leakage",
        "offline rows know six hours of the future",
        OFFLINE,
        ("item_popularity",),
        (),
        (Cause.OFFLINE_LEAKAGE,),
        offline_defects.offline_leakage,
    ),
    Defect(
        "colliding-row-ids",
        "two requests share a row id",
        LOG,
        (),
        (),
        (Cause.DUPLICATE_LOG_ROWS, Cause.OTHER_ROW),
        log_defects.colliding_row_ids,
        why_more="under one id the second request's candidates are either a repetition or another request's",
    ),
    Defect(
        "duplicated-log-rows",
        "a batch of the log was shipped twice",
        LOG,
        (),
        (),
        (Cause.DUPLICATE_LOG_ROWS,),
        log_defects.duplicated_log_rows,
    ),
    Defect(
        "one-bad-replica",
        "one process reads a Redis two runs behind",
        SERVER,
        (*ITEM_VIEWS, *USER_VIEWS, "user_item"),
        (),
        (Cause.ONE_REPLICA,),
        server_defects.one_bad_replica,
        why_more="where every request came to that process, no other is there to compare it with",
        when_all=(Cause.MATERIALIZATION_GAP,),
    ),
    Defect(
        "wrong-model",
        "another booster than the bundle named",
        SERVER,
        (),
        (),
        (Cause.WRONG_MODEL,),
        server_defects.wrong_model,
    ),
)

DEFECTS: tuple[Defect, ...] = (*OLD_ROWS, *VALUES, *MACHINERY)
NAMES = (*(defect.name for defect in DEFECTS), *(control.name for control in CONTROLS))
