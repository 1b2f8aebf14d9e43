#!/usr/bin/env bash
# A whole release: build and push, migrate, update every service, check. It stops at the first step that fails.
#   deploy-all.sh [TAG] [--dry-run]
# The variables are those of the scripts that it calls; UI_URL is asked at the end where it is set.
set -euo pipefail
# shellcheck source=deploy/scripts/common.sh
source "$(dirname "$0")/common.sh"
read_arguments "$@"
here="$(dirname "$0")"
options=()
[ -z "$dry" ] || options=(--dry-run)
if [ -n "$dry" ]; then
  "$here/build-and-push.sh" "${arguments[@]}" --dry-run
  image="$repository@sha256:$(printf '0%.0s' {1..64})"
else
  image="$("$here/build-and-push.sh" "${arguments[@]}" | tee /dev/stderr | tail -n 1)"
fi
"$here/migrate.sh" "$image" "${options[@]}"
"$here/update-services.sh" "$image" "${options[@]}"
"$here/health-check.sh" ${UI_URL:+"$UI_URL"} "${options[@]}"
