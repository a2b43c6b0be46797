-- One row: how many traces could be drawn, how many are in expectation, and the standard error that
-- the day's weighted estimate is to expect of its draw, beside that of as many drawn uniformly. The
-- estimate is mean(p + (Y - p) drawn / chance), so its variance is the sum of
-- (1 / chance - 1) E[(Y - p)^2] over n^2 (2403.03208), with p (1 - p) for the expectation: right where
-- the judge is calibrated. Null without a trace.
-- given: chances(trace_id varchar, content_hash varchar, p double, is_disputed boolean,
--     is_decided boolean, weight double, audit_probability double, targeted_probability double,
--     draw_probability double)
select
    count(*) as pool,
    coalesce(sum(draw_probability), 0) as expected_items,
    sqrt(sum((1 / draw_probability - 1) * p * (1 - p))) / count(*) as expected_se,
    sqrt((count(*) / sum(draw_probability) - 1) * sum(p * (1 - p))) / count(*) as uniform_se
from chances
