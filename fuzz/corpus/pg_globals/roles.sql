--
-- PostgreSQL database cluster dump
--

\restrict abc

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

CREATE ROLE there;
ALTER ROLE there WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS PASSWORD 'SCRAM-SHA-256$4096:x$y:z';
CREATE ROLE "New ""one"";";
ALTER ROLE "New ""one"";" WITH NOSUPERUSER VALID UNTIL '2030-01-01 00:00:00+00';
COMMENT ON ROLE "New ""one"";" IS E'it''s \\ two
lines';
ALTER ROLE "New ""one"";" IN DATABASE here SET search_path TO 'a', 'b';
GRANT there TO "New ""one"";" WITH ADMIN OPTION GRANTED BY there;

\unrestrict abc
