CREATE ROLE a \! id
;