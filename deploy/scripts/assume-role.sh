#!/usr/bin/env bash
# In a workflow of GitHub: exchanges its identity for credentials of a role of AWS, and prints them for $GITHUB_ENV.
#   assume-role.sh ROLE_ARN [--dry-run]
# It needs `permissions: id-token: write`; the role trusts one repository, and there one environment or its pull requests.
set -euo pipefail
# shellcheck source=deploy/scripts/common.sh
source "$(dirname "$0")/common.sh"
read_arguments "$@"
role="${arguments[0]:?expected the ARN of a role}"
need aws curl jq
if [ -n "$dry" ]; then
  echo "would run: aws sts assume-role-with-web-identity --role-arn $role"
  exit 0
fi
token="$(curl --silent --show-error --fail --header "Authorization: Bearer ${ACTIONS_ID_TOKEN_REQUEST_TOKEN:?expected a workflow with id-token: write}" \
  "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=sts.amazonaws.com" | jq -r .value)"
given="$(aws sts assume-role-with-web-identity --region "$region" --role-arn "$role" --role-session-name "release-${GITHUB_RUN_ID:-0}" \
  --duration-seconds 3600 --web-identity-token "$token" --query Credentials --output json)"
for pair in AWS_ACCESS_KEY_ID:AccessKeyId AWS_SECRET_ACCESS_KEY:SecretAccessKey AWS_SESSION_TOKEN:SessionToken; do
  value="$(jq -r ".${pair#*:}" <<< "$given")"
  echo "::add-mask::$value" >&2
  echo "${pair%%:*}=$value"
done
