-- Roles, the database and one schema a service. May run again: passwords are set to what is given.
-- psql variables: quoted_password, payd_password, subd_password, adminsvc_password. Run in the database `postgres`.
SELECT format('CREATE ROLE %I LOGIN', name)
  FROM unnest(ARRAY['octroi_quoted', 'octroi_payd', 'octroi_subd', 'octroi_adminsvc']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec
ALTER ROLE octroi_quoted PASSWORD :'quoted_password';
ALTER ROLE octroi_payd PASSWORD :'payd_password';
ALTER ROLE octroi_subd PASSWORD :'subd_password';
ALTER ROLE octroi_adminsvc PASSWORD :'adminsvc_password';

SELECT 'CREATE DATABASE octroi' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'octroi')
\gexec
\connect octroi

REVOKE ALL ON DATABASE octroi FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT ON DATABASE octroi TO octroi_quoted, octroi_payd, octroi_subd, octroi_adminsvc;
CREATE SCHEMA IF NOT EXISTS quotes AUTHORIZATION octroi_quoted;
CREATE SCHEMA IF NOT EXISTS payments AUTHORIZATION octroi_payd;
CREATE SCHEMA IF NOT EXISTS subscriptions AUTHORIZATION octroi_subd;
CREATE SCHEMA IF NOT EXISTS admin AUTHORIZATION octroi_adminsvc;
