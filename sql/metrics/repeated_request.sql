-- One row a trace with two requests or more: how alike its two most alike requests are, from 0 to 1.
-- A request is a turn of the user of three words or more. Alike is the share of letters that stand in
-- words of both, so that long words, which carry the meaning, count more than "the". A request is
-- compared with the five turns of the user before it, which keeps long traces linear.
-- name: repeated_request
-- level: trace
-- direction: lower_is_better
-- owner: flywheel
-- review_due: 2027-06-01
with turns as (
    select
        trace_id,
        position,
        lower(left(content, 2000)) as text,
        row_number() over (partition by trace_id order by position) as turn_no
    from messages
    where role = 'user'
),

split_turns as (
    select
        trace_id,
        position,
        turn_no,
        -- Where words are not spaced, a character is one.
        if(
            regexp_matches(text, '[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]'),
            regexp_extract_all(text, '[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[\pL\pM\pN]+'),
            string_split(regexp_replace(text, '[[:punct:]\t\n\r“”„«»…–—]+', ' ', 'g'), ' ')
        ) as all_words
    from turns
),

requests as (
    select
        trace_id,
        position,
        turn_no,
        list_filter(
            all_words, lambda word, i: word <> '' and list_position(all_words, word) = i
        ) as distinct_words,
        if(len(distinct_words) >= 3, distinct_words, null) as words,
        length(array_to_string(words, '')) as letters
    from split_turns
),

pairs as (
    select
        later.trace_id,
        later.position,
        earlier.position as earlier_position,
        length(array_to_string(
            list_filter(later.words, lambda word: list_contains(earlier.words, word)), ''
        )) as shared,
        shared / (later.letters + earlier.letters - shared) as alike
    from (
        select *, unnest(range(greatest(1, turn_no - 5), turn_no)) as earlier_no from requests
    ) as later
    inner join requests as earlier
        on earlier.trace_id = later.trace_id and earlier.turn_no = later.earlier_no
),

closest as (
    select
        trace_id,
        arg_max(
            {'alike': alike, 'position': position, 'earlier': earlier_position},
            (alike, -position, earlier_position)
        ) filter (where alike is not null) as pair
    from pairs
    group by trace_id
)

select
    trace_id,
    pair.alike as value,
    -- At .6 the pairs of two public dialogue sets read as the same wish in other words; at .5 half do.
    pair.alike >= 0.6 as label,
    round(100 * pair.alike)::integer || ' % alike with the request at ' || pair.earlier as reason,
    pair.position as evidence_turn
from closest
