-- One row a decision of the ledger.
-- given: ledger_decisions(decision_id bigint, kind varchar, undoes bigint, trace_id varchar,
--     content_hash varchar, reviewer varchar, perceived_error boolean, reason_code varchar,
--     reason varchar, evidence_turn integer, rubric_version varchar, seconds double,
--     draw_probability double, is_audit boolean, corrected_turn integer, corrected_text varchar,
--     corrected_tool_calls varchar, decided_at timestamptz)
insert into decisions by name
select * from ledger_decisions
