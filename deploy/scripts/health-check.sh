#!/usr/bin/env bash
# Whether every service runs as many tasks as wanted, with one revision, and the UI answers. Ends with 1 where not.
#   health-check.sh [UI_URL] [--dry-run]      it changes nothing; --dry-run does not ask AWS either
set -euo pipefail
# shellcheck source=deploy/scripts/common.sh
source "$(dirname "$0")/common.sh"
read_arguments "$@"
need aws jq curl
services=(code daemon web serve research trading)
if [ -n "$dry" ]; then
  act aws ecs describe-services --region "$region" --cluster "$cluster" --services "${services[@]}"
  [ "${#arguments[@]}" -eq 0 ] || act curl --silent --show-error --fail-with-body --max-time 20 "${arguments[0]}/server_info"
  exit 0
fi
bad="$(aws ecs describe-services --region "$region" --cluster "$cluster" --services "${services[@]}" --output json |
  jq -r '(.failures[]? | "\(.arn): \(.reason)"),
    (.services[] | select(.runningCount < .desiredCount or .desiredCount == 0 or (.deployments | length) > 1)
      | "\(.serviceName): \(.runningCount) of \(.desiredCount) tasks, \(.deployments | length) deployments")')"
if [ "${#arguments[@]}" -gt 0 ]; then
  # 200, or where a log-in stands before it: sent on to it (302), or asked for the token (401).
  status="$(curl --silent --output /dev/null --max-time 20 --write-out '%{http_code}' "${arguments[0]}/server_info" || true)"
  case "$status" in
    200 | 302 | 401) ;;
    *) bad="$bad"$'\n'"${arguments[0]}/server_info answered $status, expected 200, 302 or 401" ;;
  esac
fi
[ -z "${bad//[$'\n']/}" ] || { printf '%s\n' "$bad" >&2; exit 1; }
echo "all services run"
