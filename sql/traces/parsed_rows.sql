-- One row a row of the file in canonical form. `why` is null where it can be used, 'unread' where no
-- messages were found in it, and otherwise says what is wrong.
-- given: mapped_rows(line_no bigint, trace_id varchar, app varchar, rest json,
--     messages struct("role" varchar, content json)[])
-- $app: application of rows that name none
with canonical_rows as (
    select
        null::bigint as line_no,
        null::varchar as trace_id,
        null::varchar as app,
        null::varchar as session_id,
        null::varchar as user_id,
        null::varchar as started_at,
        null::varchar as ended_at,
        null::varchar as status,
        null::varchar as release,
        null::varchar as model_name,
        null::varchar as generator,
        null::double as cost_usd,
        null::bigint as prompt_tokens,
        null::bigint as completion_tokens,
        null::double as latency_ms,
        null::integer as n_spans,
        null::json as metadata,
        null::json as rest,
        null::struct(
            "role" varchar, content json, refusal varchar, tool_calls json, function_call json,
            tool_call_id varchar, "name" varchar
        )[] as messages
    where false
    -- A format names only the columns that it has.
    union all by name
    select * from mapped_rows
),

-- Roles by the names that we use, texts as plain text, times in UTC.
normal_rows as (
    select
        line_no,
        nullif(trace_id, '') as trace_id,
        coalesce(nullif(app, ''), $app) as app,
        nullif(session_id, '') as session_id,
        nullif(user_id, '') as user_id,
        started_at as started_at_text,
        ended_at as ended_at_text,
        -- Nine digits and more are seconds since 1970, or milli-, micro- or nanoseconds by their size.
        list_transform([started_at, ended_at], lambda t: case
            when regexp_full_match(t, '\d{9,19}(\.\d+)?')
                then make_timestamp(cast(t::double * case
                    when t::double < 1e11 then 1e6
                    when t::double < 1e14 then 1e3
                    when t::double < 1e17 then 1
                    else 1e-3
                end as bigint))
            when regexp_matches(t, '^\d{4}-\d\d-\d\d') then try_cast(t as timestamptz)::timestamp
        end) as times,
        status,
        release,
        model_name,
        generator,
        -- A cost or a count of 0 is not known to be 0.
        if(isfinite(cost_usd), nullif(cost_usd, 0), null) as cost_usd,
        nullif(prompt_tokens, 0) as prompt_tokens,
        nullif(completion_tokens, 0) as completion_tokens,
        if(isfinite(latency_ms), latency_ms, null) as latency_ms,
        n_spans,
        -- Keys that no column takes stand beside those of the given metadata, which win.
        case
            when coalesce(metadata::varchar, '{}') = '{}' then nullif(rest::varchar, '{}')
            when not starts_with(metadata::varchar, '{')
                then json_merge_patch(rest, '{"metadata":' || metadata || '}')::varchar
            when rest::varchar = '{}' then metadata::varchar
            when list_has_any(json_keys(rest), json_keys(metadata))
                then json_merge_patch(rest, metadata)::varchar
            -- Not merged, since a merge drops what is null.
            else left(rest::varchar, -1) || ',' || substr(metadata::varchar, 2)
        end as metadata,
        messages is null as is_unread,
        list_transform(messages, lambda m: m."role") as roles,
        list_transform(messages, lambda m: {
            'role': case m."role"
                when 'developer' then 'system' when 'function' then 'tool' else m."role"
            end,
            'content': case
                when m.content is null then coalesce(m.refusal, '')
                when starts_with(m.content::varchar, '"') then json_extract_string(m.content, '$')
                -- A list of nothing but null has no text.
                when starts_with(m.content::varchar, '[') then coalesce(array_to_string(
                    list_transform(from_json(m.content, '["JSON"]'), lambda part: case
                        when starts_with(part::varchar, '"') then json_extract_string(part, '$')
                        when json_extract_string(part, '$.type')
                            in ('text', 'input_text', 'output_text')
                            then coalesce(json_extract_string(part, '$.text'), part::varchar)
                        else part::varchar
                    end),
                    chr(10)
                ), '')
                else m.content::varchar
            end,
            'tool_calls': coalesce(
                nullif(m.tool_calls::varchar, '[]'),
                '[{"type":"function","function":' || m.function_call || '}]'
            ),
            'tool_call_id': nullif(m.tool_call_id, ''),
            'name': nullif(m."name", '')
        }) as messages
    from canonical_rows
),

checked_rows as (
    select
        *,
        times[1] as started_at,
        times[2] as ended_at,
        list_position(
            list_transform(roles, lambda r: coalesce(
                r in ('system', 'user', 'assistant', 'tool', 'developer', 'function'), false
            )),
            false
        ) as bad_message,
        list_position(
            list_transform(messages, lambda m: m."role" = 'assistant' and m.content <> ''), true
        ) as first_answer,
        -- The form of this text is for ever: decisions and scores name a version by its hash. The
        -- length in bytes keeps two contents from giving the same text; concat is three times as
        -- fast as the JSON of all.
        sha256(concat(
            to_json({
                'app': app,
                'session_id': session_id,
                'user_id': user_id,
                'started_at': times[1],
                'ended_at': times[2]
            }),
            array_to_string(
                list_transform(messages, lambda m: concat(
                    m."role", ' ', strlen(m.content), ' ', m.content,
                    case when m.tool_calls is not null or m.tool_call_id is not null
                        or m."name" is not null
                        then to_json({
                            'tool_calls': m.tool_calls,
                            'tool_call_id': m.tool_call_id,
                            'name': m."name"
                        })
                    end
                )),
                ''
            )
        )) as content_hash
    from normal_rows
)

select
    line_no,
    coalesce(trace_id, left(content_hash, 32)) as trace_id,
    content_hash,
    app,
    coalesce(session_id, trace_id, left(content_hash, 32)) as session_id,
    user_id,
    started_at,
    ended_at,
    status,
    release,
    model_name,
    generator,
    cost_usd,
    prompt_tokens,
    completion_tokens,
    latency_ms,
    n_spans,
    len(messages) as n_messages,
    -- A user's text after the first answer that has text: Conversation.is_eligible says the same.
    coalesce(first_answer, 0) > 0 and len(list_filter(
        messages[first_answer + 1:],
        lambda m: m."role" = 'user'
            and regexp_matches(m.content, '[^\s\v\x1c-\x1f\x85\p{Z}]')
    )) > 0 as is_eligible,
    metadata,
    messages,
    case
        when is_unread then 'unread'
        -- Postgres has no text with a NUL in it, and the ledger names traces and applications.
        when contains(concat_ws('', trace_id, session_id, user_id, app), chr(0))
            then 'trace_id, session_id, user_id or app has a NUL character in it'
        -- What Postgres indexes may take 2,704 bytes, and two of them stand in one key.
        when greatest(length(trace_id), length(session_id), length(user_id), length(app)) > 300
            then 'trace_id, session_id, user_id or app is longer than 300 characters'
        when len(messages) = 0 then 'the list of messages is empty'
        when coalesce(roles[bad_message], '') = '' and bad_message > 0
            then 'message ' || bad_message || ' has no role'
        when bad_message > 0
            then 'message ' || bad_message || ' has the unknown role "' || left(roles[bad_message], 40)
                || '"'
        when started_at is null and nullif(started_at_text, '') is not null
            then 'started_at "' || left(started_at_text, 40) || '" is no time'
        when ended_at is null and nullif(ended_at_text, '') is not null
            then 'ended_at "' || left(ended_at_text, 40) || '" is no time'
    end as why
from checked_rows
order by line_no
