#!/usr/bin/env bash
# Puts a backup back. What uses the databases must be stopped first; this script stops it. Trading stays HALTED after it.
#   ./restore.sh FOLDER [--replace]      --replace: also where a ledger or a home is there already; the old ones are kept
# COMPOSE names the program: "docker compose" (default) or "podman-compose".
set -euo pipefail
folder="$(cd "${1:?expected the folder of a backup, as backups/20261128T090000Z}" && pwd)"
replace="${2:-}"
cd "$(dirname "$0")"
read -ra compose <<< "${COMPOSE:-docker compose}"
(cd "$folder" && sha256sum --check --quiet SHA256SUMS)
# What does not run need not be stopped; where something else uses the databases, the restore refuses.
"${compose[@]}" stop web daemon code research trading serve || true
# On a new machine there is no ledger yet: the role migrate would have made it.
"${compose[@]}" exec -T postgres psql --username trading_assets --dbname dagster --quiet \
  --command "CREATE DATABASE trading_assets" 2> /dev/null || true
"${compose[@]}" exec -T postgres pg_restore --username trading_assets --dbname dagster --clean --if-exists --no-owner \
  --single-transaction < "$folder/dagster.dump"
"${compose[@]}" --profile tools run --rm --no-deps -T tools sh -ec \
  "file=/var/lib/trading_assets/restore-\$\$.zip; trap \"rm -f \$file\" EXIT; cat > \$file; trading-assets restore $replace \$file" \
  < "$folder/trading_assets.zip"
echo "restored. Start the services, read the books with the job reconcile, then: trading-assets resume"
