-- One row a span that says what is known already, or that a newer one replaces; removes it. The
-- newest version of a span is in force; one that has ended is newer than one that has not.
-- $import_id: the ledger's number of the import
delete from spans
where rowid in (
    with seen as (
        select
            rowid as place,
            app,
            trace_id,
            span_id,
            ended_at,
            import_id,
            line_no,
            row_number() over (
                partition by app, trace_id, span_id, span_hash
                order by import_id = $import_id, line_no desc, rowid desc
            ) as repetition
        from spans
        where trace_id in (select n.trace_id from spans as n where n.import_id = $import_id)
    ),

    ranked as (
        select
            place,
            row_number() over (
                partition by app, trace_id, span_id
                order by
                    repetition = 1 desc, ended_at is not null desc,
                    import_id desc, line_no desc, place desc
            ) as version
        from seen
    )

    select place
    from ranked
    where version > 1
)
