#!/usr/bin/env bash
# Takes services back to the revisions that were in force before a release, the last one first.
#   rollback.sh [RECORD] [--dry-run]      RECORD: a file that update-services.sh has named; default: the newest
# It does not change the ledger. Where the release has narrowed the schema, take that back first, with the NEW image:
# trading-assets ledger downgrade REVISION (docs/howto/deploy_aws.md).
set -euo pipefail
# shellcheck source=deploy/scripts/common.sh
source "$(dirname "$0")/common.sh"
read_arguments "$@"
need aws
folder="${RELEASES:-$root/releases}"
record="${arguments[0]:-}"
if [ -z "$record" ]; then
  record="$(find "$folder" -maxdepth 1 -name '*.tsv' 2> /dev/null | sort | tail -n 1)"
fi
[ -f "$record" ] || { echo "found ${record:-no record in $folder}, expected a file of update-services.sh" >&2; exit 2; }
tac "$record" | while IFS=$'\t' read -r service old new; do
  [ -n "$dry" ] || echo "$service: $new -> $old"
  act aws ecs update-service --region "$region" --cluster "$cluster" --service "$service" --task-definition "$old" \
    --query 'service.serviceName' --output text < /dev/null
  act aws ecs wait services-stable --region "$region" --cluster "$cluster" --services "$service" < /dev/null
done
