-- Verdicts that cost money, thresholds at which a tier decides, panels, releases and drift.
-- A view of `s.*` is of the columns that its table had: it is made anew.

drop view current_scores;

alter table scores add column prompt_tokens bigint;
alter table scores add column completion_tokens bigint;
-- Whether the tier was past its certified threshold; null where nothing is certified.
alter table scores add column is_decided boolean;

alter table score_runs add column cost_usd double;

-- '*' is all releases together.
alter table estimates add column release varchar;

-- One row a trace that a panel has been through: the ledger's, mirrored.
create table panel_outcomes (
    trace_id varchar not null,
    content_hash varchar not null,
    perceived_error boolean,
    settled_in_round integer,
    is_audited boolean not null,
    rubric_version varchar not null,
    draw_probability double not null,
    settled_at timestamp not null
);

-- One row a label that people gave to a trace that has not changed since; the gate, retrieval, the
-- estimates and every calibration read this.
create or replace view current_labels as
select l.*
from labels as l
inner join traces as t
    on t.trace_id = l.trace_id and t.content_hash = l.content_hash and t.is_current
where l.source <> 'panel';

-- One row a label that a panel of judges gave, where no person did; only a training reads it.
create view current_panel_labels as
select l.*
from labels as l
inner join traces as t
    on t.trace_id = l.trace_id and t.content_hash = l.content_hash and t.is_current
where l.source = 'panel';

-- One row a day, an application and a thing that may drift (`scores`, `embeddings`), against the days
-- before it.
create table drift (
    day date not null,
    app varchar not null,
    subject varchar not null,
    statistic double not null,
    psi double,
    p_value double not null,
    alpha double not null,
    has_drifted boolean not null,
    n bigint not null,
    n_reference bigint not null,
    first_reference_day date not null,
    last_reference_day date not null
);

-- One row the score in force of a trace: of the last run of its day, by its highest tier; a reply
-- that could not be read does not hide what an earlier tier said. Within the day, so that to read one
-- day does not rank the scores of all.
create view current_scores as
select s.*
from scores as s
inner join current_runs as r
    on r.day = s.day and r.metric = s.metric and r.metric_version = s.metric_version
    and r.judge = split_part(s.judge_version, '/', 1)
inner join traces as t
    on t.day = s.day and t.trace_id = s.trace_id and t.content_hash = s.content_hash
    and t.is_current
qualify row_number() over (
    partition by s.day, s.trace_id, s.metric, coalesce(s.span_id, '')
    order by
        s.label is not distinct from 'unparsed',
        case s.tier
            when 'generative' then 4 when 'lora' then 3 when 'frozen' then 2 when 'lexical' then 1
            else 0
        end desc,
        s.judge_version desc
) = 1;
