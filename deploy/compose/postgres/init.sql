-- Run once, by psql as the superuser, when the volume is new. Signalbox logs in as a role that is no superuser, so that
-- row-level security binds it, and works for tenants as signalbox_app (docs/operating.md, "Database roles").
\set ON_ERROR_STOP on
\set password `cat /run/secrets/database_password`
CREATE ROLE signalbox_app NOLOGIN NOSUPERUSER NOBYPASSRLS;
CREATE ROLE signalbox_login LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'password';
GRANT signalbox_app TO signalbox_login;
CREATE DATABASE signalbox OWNER signalbox_login ENCODING 'UTF8' TEMPLATE template0;
