-- One row a version of a trace on which as many reviewers say yes as say no, and that nobody has
-- settled.
select d.trace_id, d.content_hash, count(*) as n_reviewers
from standing_decisions as d
inner join traces as t on t.trace_id = d.trace_id and t.content_hash = d.content_hash
anti join standing_adjudications as a
    on a.trace_id = d.trace_id and a.content_hash = d.content_hash
group by d.trace_id, d.content_hash
having 2 * count(*) filter (where d.perceived_error) = count(*)
order by d.trace_id, d.content_hash
