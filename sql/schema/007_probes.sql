-- Where the judge's budget goes because of what the graph of calls says.

-- One row a trace that was drawn to be probed, with the chance that it had; what the judge said of
-- it stands in `scores` under the metric `probe`. `node` is the riskiest that it went by.
create table probes (
    day date not null,
    trace_id varchar not null,
    content_hash varchar not null,
    app varchar not null,
    inclusion_probability double not null,
    risk double not null,
    node varchar not null
);
