#!/bin/sh
# Run by the PostgreSQL image when its volume is new.
set -eu
psql -X -q -v ON_ERROR_STOP=1 -U postgres -d postgres \
    -v quoted_password="$QUOTED_PASSWORD" -v payd_password="$PAYD_PASSWORD" \
    -v subd_password="$SUBD_PASSWORD" -v adminsvc_password="$ADMINSVC_PASSWORD" \
    -f /octroi/bootstrap.sql
