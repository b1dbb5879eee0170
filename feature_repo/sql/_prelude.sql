-- Shared by every view's SQL. The build defines the tables exposures, items, users and histories as what was
-- known at the snapshot instant (created_timestamp < as_of()), and the macro as_of().

-- True for times in [as_of - days, as_of).
CREATE OR REPLACE TEMP MACRO within(happened, days) AS happened >= as_of() - to_days(days);

-- A rate shrunk toward `prior` as if `weight` further trials had shown it; never null.
CREATE OR REPLACE TEMP MACRO smoothed(hits, trials, prior, weight) AS
    (coalesce(hits, 0) + weight * prior) / (coalesce(trials, 0) + weight);

-- A plain rate; null without trials.
CREATE OR REPLACE TEMP MACRO rate(hits, trials) AS hits / nullif(trials, 0);

-- Watched share of an exposure, capped at 3 (replays); null where the length is unknown.
CREATE OR REPLACE TEMP MACRO watched_share(play_ms, duration_ms) AS
    CASE WHEN play_ms IS NOT NULL AND duration_ms > 0 THEN least(play_ms / duration_ms, 3.0) END;

-- The whole service's rates so far: the prior of every smoothed rate. One row, also without any exposure.
CREATE OR REPLACE TEMP VIEW overall AS
SELECT
    smoothed(count(*) FILTER (click), count(*), 0.2, 10) AS click_rate,
    smoothed(count(*) FILTER (long_view), count(*), 0.2, 10) AS long_view_rate,
    smoothed(count(*) FILTER (completed), count(*), 0.1, 10) AS completion_rate,
    smoothed(count(*) FILTER ("like"), count(*), 0.02, 10) AS like_rate
FROM exposures;

-- The newest known version of each item and of each user.
CREATE OR REPLACE TEMP VIEW current_items AS
SELECT * FROM items QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY created_timestamp DESC) = 1;
CREATE OR REPLACE TEMP VIEW current_users AS
SELECT * FROM users QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY created_timestamp DESC) = 1;
CREATE OR REPLACE TEMP VIEW current_histories AS
SELECT * FROM histories QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY created_timestamp DESC) = 1;

-- What a user met before the log starts: one row per remembered exposure, with its outcome.
CREATE OR REPLACE TEMP VIEW remembered AS
SELECT
    user_id,
    item_id,
    list_contains(long_viewed_item_ids, item_id) AS long_view,
    list_contains(liked_item_ids, item_id) AS "like"
FROM (
    SELECT user_id, unnest(exposed_item_ids) AS item_id, long_viewed_item_ids, liked_item_ids
    FROM current_histories
);

-- All that is known of a user's tastes: remembered exposures, remembered long views and likes that are older than
-- the remembered exposures, and the log so far.
CREATE OR REPLACE TEMP VIEW tastes AS
SELECT user_id, item_id, long_view, "like" FROM exposures
UNION ALL
SELECT user_id, item_id, long_view, "like" FROM remembered
UNION ALL
SELECT user_id, item_id, true, false FROM (
    SELECT user_id, unnest(list_filter(long_viewed_item_ids, lambda x: NOT list_contains(coalesce(exposed_item_ids, []), x))) AS item_id
    FROM current_histories
)
UNION ALL
SELECT user_id, item_id, false, true FROM (
    SELECT user_id, unnest(list_filter(liked_item_ids, lambda x: NOT list_contains(coalesce(exposed_item_ids, []), x))) AS item_id
    FROM current_histories
);
