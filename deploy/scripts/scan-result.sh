#!/usr/bin/env bash
# Waits for the registry's scan of an image, and ends with 1 where it found something critical.
#   scan-result.sh IMAGE@sha256:... [--dry-run]
set -euo pipefail
# shellcheck source=deploy/scripts/common.sh
source "$(dirname "$0")/common.sh"
read_arguments "$@"
need aws jq
image="${arguments[0]:-}"
need_digest "$image"
which=(--region "$region" --repository-name "$repository" --image-id "imageDigest=${image##*@}")
if [ -n "$dry" ]; then
  act aws ecr wait image-scan-complete "${which[@]}"
  exit 0
fi
aws ecr wait image-scan-complete "${which[@]}"
found="$(aws ecr describe-image-scan-findings "${which[@]}" --query imageScanFindings.findingSeverityCounts --output json)"
echo "found: $found"
[ "$(jq '.CRITICAL // 0' <<< "${found/null/\{\}}")" -eq 0 ] || { echo "critical findings: see the repository in ECR" >&2; exit 1; }
