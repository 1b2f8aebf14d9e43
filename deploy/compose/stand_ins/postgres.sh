# What the official image does with POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD_FILE, as far as compose.yaml uses it.
set -eu
data="$PGDATA/17"
if [ ! -s "$data/PG_VERSION" ]; then
  initdb --pgdata "$data" --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" --auth-host scram-sha-256 --auth-local trust
  echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
  pg_ctl --pgdata "$data" --wait --options "-c listen_addresses=''" start
  createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl --pgdata "$data" --wait --mode fast stop
fi
exec postgres -D "$data" -c "listen_addresses=*" -c max_connections=200
