-- Traces as they arrive live: their spans, and what people outside the review say of them.

alter table traces add column n_spans integer;

-- One row a span, as it was last seen; ids are hex as OpenTelemetry writes them, or the tool's own.
create table spans (
    app varchar not null,
    trace_id varchar not null,
    span_id varchar not null,
    parent_id varchar,
    day date not null,
    -- agent, llm, tool, retriever, embedding, chain, guardrail or evaluator.
    kind varchar not null,
    name varchar not null,
    started_at timestamp,
    ended_at timestamp,
    status varchar,
    error varchar,
    session_id varchar,
    user_id varchar,
    model_name varchar,
    provider varchar,
    release varchar,
    -- Lists of messages in OpenAI's shape; or any other JSON where there are none.
    input json,
    output json,
    tool_name varchar,
    tool_call_id varchar,
    prompt_tokens bigint,
    completion_tokens bigint,
    cost_usd double,
    tags varchar[],
    metadata json,
    -- Hash of all that the span says.
    span_hash varchar not null,
    import_id bigint not null,
    line_no bigint not null
);

-- One row what somebody outside the review said of a trace: the ledger's, mirrored. `author` is the
-- user who gave it, where nobody else is named; `tool` is what brought it.
create table feedback (
    feedback_id bigint not null,
    app varchar not null,
    trace_id varchar not null,
    span_id varchar,
    name varchar not null,
    value double,
    label varchar,
    comment varchar,
    correction varchar,
    source varchar not null,
    tool varchar not null,
    author varchar,
    given_at timestamp not null
);

-- One row what somebody says last of a trace or a span, by that name: a later word of the same giver
-- takes an earlier one back.
create view standing_feedback as
select *
from feedback
where trace_id <> ''
qualify row_number() over (
    partition by trace_id, coalesce(span_id, ''), name, source, coalesce(author, '')
    order by given_at desc, feedback_id desc
) = 1;

-- One row a forgetting that this file has been through; one that it lacks is done again.
create table forgettings (
    forgetting_id varchar not null
);
