#!/usr/bin/env bash
# Writes a backup while everything runs: ledger, candles and Dagster's history, into one folder of its own.
#   ./backup.sh [FOLDER]      default: backups/ beside this file
# COMPOSE names the program: "docker compose" (default) or "podman-compose".
set -euo pipefail
cd "$(dirname "$0")"
umask 077
read -ra compose <<< "${COMPOSE:-docker compose}"
folder="${1:-backups}/$(date -u +%Y%m%dT%H%M%SZ)"
mkdir -p "$folder"
# The project's own backup: the ledger in one snapshot, candles, the embedded exchange's account if it is in the home.
# shellcheck disable=SC2016 # it is the container's shell that expands
"${compose[@]}" --profile tools run --rm --no-deps -T tools sh -ec \
  'file=/var/lib/trading_assets/backup-$$.zip; trap "rm -f $file" EXIT; trading-assets backup $file >&2; cat $file' \
  > "$folder/trading_assets.zip"
"${compose[@]}" exec -T postgres pg_dump --username trading_assets --format custom dagster > "$folder/dagster.dump"
for file in trading_assets.zip dagster.dump; do
  test -s "$folder/$file" || { echo "$folder/$file is empty: the backup failed" >&2; exit 1; }
done
(cd "$folder" && sha256sum trading_assets.zip dagster.dump > SHA256SUMS)
echo "$folder"
