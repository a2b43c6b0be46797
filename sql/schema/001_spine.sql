-- The spine: traces in, scores, what people said, estimates. All times are UTC.
-- Bulk tables carry no key: one writer at a time inserts what an anti-join says is new.

-- A number in [0, 1) from the first 52 bits of md5; flywheel.records.unit_hash gives the same.
create macro unit_hash(key, salt) as
    ('0x' || left(md5(salt || ':' || key), 13))::bigint / 4503599627370496.0;

-- Upper edges of the shares: .6 train, .1 validation, .1 calibration, .2 holdout.
create macro split_at(place) as
    case
        when place < 0.6 then 'train'
        when place < 0.7 then 'validation'
        when place < 0.8 then 'calibration'
        else 'holdout'
    end;

-- Where a user or a session falls, for ever; flywheel.records.split_of gives the same.
create macro split_of(session_id, user_id) as
    split_at(unit_hash(
        if(coalesce(user_id, '') <> '', 'user:' || user_id, 'session:' || session_id), 'split'
    ));

-- One row a version of a trace; `is_current` marks the last one that was loaded of each trace_id.
create table traces (
    trace_id varchar not null,
    content_hash varchar not null,
    is_current boolean not null,
    app varchar not null,
    session_id varchar not null,
    user_id varchar,
    day date not null,
    started_at timestamp,
    started_at_source varchar not null,
    ended_at timestamp,
    status varchar,
    release varchar,
    model_name varchar,
    generator varchar,
    cost_usd double,
    prompt_tokens bigint,
    completion_tokens bigint,
    latency_ms double,
    n_messages integer not null,
    is_eligible boolean not null,
    metadata json,
    import_id bigint not null,
    line_no bigint not null
);

-- One row a message; `position` counts from 0.
create table messages (
    day date not null,
    trace_id varchar not null,
    content_hash varchar not null,
    position integer not null,
    role varchar not null,
    content varchar not null,
    tool_calls json,
    tool_call_id varchar,
    name varchar
);

-- One row a line of a file that could not be used, and why.
create table rejected_rows (
    import_id bigint not null,
    file varchar not null,
    line_no bigint not null,
    why varchar not null
);

-- One row an import that is loaded, with its counts and the days that it touched.
create table loaded_imports (
    import_id bigint not null,
    read bigint not null,
    new bigint not null,
    duplicate bigint not null,
    changed bigint not null,
    rejected bigint not null,
    days date[] not null
);

-- One row a trace that was drawn for the expensive tiers.
create table samples (
    day date not null,
    trace_id varchar not null,
    content_hash varchar not null,
    stratum varchar not null,
    inclusion_probability double not null
);

-- One row what one version of a metric or a judge said of one version of a trace.
create table scores (
    day date not null,
    trace_id varchar not null,
    content_hash varchar not null,
    span_id varchar,
    metric varchar not null,
    metric_version varchar not null,
    judge_version varchar not null,
    kind varchar not null,
    value double,
    label varchar,
    reason varchar,
    reason_code varchar,
    evidence_turn integer,
    probability double,
    logit double,
    tier varchar,
    few_shot_ids varchar[],
    index_version varchar,
    cost_usd double,
    latency_ms double
);

-- One row a day that a version of a metric or a judge has scored, with what it left out.
create table score_runs (
    day date not null,
    metric varchar not null,
    metric_version varchar not null,
    judge_version varchar not null,
    tier varchar,
    attempted bigint not null,
    scored bigint not null,
    skipped json not null,
    failed json not null,
    scored_at timestamp not null
);

-- One row a day and a metric: the version whose scores are in force, that of the last run. `judge` is
-- the judge version without its tier, and empty for scores by code.
create table current_runs (
    day date not null,
    metric varchar not null,
    metric_version varchar not null,
    judge varchar not null
);

-- One row an example that retrieval gave for a trace of the day, best first from rank 1.
create table few_shot_corrections (
    day date not null,
    trace_id varchar not null,
    content_hash varchar not null,
    correction_id varchar not null,
    rank integer not null,
    similarity double not null,
    age_days double not null,
    score double not null,
    perceived_error boolean not null,
    index_version varchar not null
);

-- One row a decision: the ledger's, mirrored.
create table decisions (
    decision_id bigint not null,
    kind varchar not null,
    undoes bigint,
    trace_id varchar not null,
    content_hash varchar not null,
    reviewer varchar not null,
    perceived_error boolean,
    reason_code varchar,
    reason varchar,
    evidence_turn integer,
    rubric_version varchar not null,
    seconds double,
    draw_probability double,
    is_audit boolean not null,
    corrected_turn integer,
    corrected_text varchar,
    decided_at timestamp not null
);

-- One row a trace on which a decision stands; `correction_id` is that of its last standing decision.
create table labels (
    correction_id varchar not null,
    trace_id varchar not null,
    content_hash varchar not null,
    app varchar not null,
    session_id varchar not null,
    user_id varchar,
    day date not null,
    split varchar not null,
    perceived_error boolean not null,
    reason_code varchar,
    reason varchar,
    evidence_turn integer,
    source varchar not null,
    n_reviewers integer not null,
    rubric_version varchar not null,
    is_audit boolean not null,
    draw_probability double,
    decided_at timestamp not null
);

-- One row a better answer that a person wrote, beside the answer that it replaces.
create table corrections (
    correction_id varchar not null,
    trace_id varchar not null,
    content_hash varchar not null,
    app varchar not null,
    session_id varchar not null,
    user_id varchar,
    split varchar not null,
    corrected_turn integer not null,
    original_text varchar,
    corrected_text varchar not null,
    reviewer varchar not null,
    decided_at timestamp not null
);

-- One row a rate that `quality` has estimated; `app` is '*' for all of them.
create table estimates (
    metric varchar not null,
    app varchar not null,
    first_day date not null,
    last_day date not null,
    judge_version varchar not null,
    method varchar not null,
    n_traces bigint not null,
    n_labels bigint not null,
    estimate double not null,
    low double not null,
    high double not null
);
