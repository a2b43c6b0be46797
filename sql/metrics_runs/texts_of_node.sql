-- One row a text that a check reads, trace by trace.
-- given: nodes(trace_id varchar, position integer, node varchar, content varchar,
--     result_position integer)
-- $node: of which node, or 'trace' for all of them; $share: of the traces, by the hash of the sample
-- $max_chars: of each text, at most
select
    trace_id,
    if(node = 'tool_call', result_position, position) as position,
    node,
    left(content, $max_chars) as content
from nodes
where content is not null
    and if($node = 'trace', node <> 'retriever', node = $node)
    and ('0x' || left(md5('sample:' || trace_id), 13))::bigint / 4503599627370496.0 < $share
order by trace_id, position, node
