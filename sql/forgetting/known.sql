-- One row a forgetting that this warehouse has been through.
select forgetting_id from forgettings order by forgetting_id
