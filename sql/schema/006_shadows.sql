-- What a challenger in the shadow says of the traces that the champion judges, kept apart from `scores`.

-- One row a trace that a shadow has read; replaced by day and shadow.
create table shadow_scores (
    day date not null,
    trace_id varchar not null,
    content_hash varchar not null,
    app varchar not null,
    target varchar not null,
    judge_version varchar not null,
    tier varchar not null,
    perceived_error boolean not null,
    probability double not null,
    scored_at timestamp not null
);
