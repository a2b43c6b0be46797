-- One row a trace that a panel has been through: the ledger's.
-- given: ledger_outcomes(trace_id varchar, content_hash varchar, perceived_error boolean,
--     settled_in_round integer, is_audited boolean, rubric_version varchar, draw_probability double,
--     settled_at timestamptz)
insert into panel_outcomes by name
select * from ledger_outcomes
