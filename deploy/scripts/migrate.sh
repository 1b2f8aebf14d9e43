#!/usr/bin/env bash
# Runs the role migrate of an image as one task and waits for it: databases, Dagster's tables, the ledger's.
#   migrate.sh IMAGE@sha256:... [--dry-run]
# SUBNETS and SECURITY_GROUPS (ids with commas) say where the task runs: terraform output, or the service daemon's.
set -euo pipefail
# shellcheck source=deploy/scripts/common.sh
source "$(dirname "$0")/common.sh"
read_arguments "$@"
need aws jq
image="${arguments[0]:-}"
need_digest "$image"
if [ -n "$dry" ]; then
  act aws ecs register-task-definition --region "$region" --cli-input-json "file://$name-migrate.json"
  act aws ecs run-task --region "$region" --cluster "$cluster" --launch-type FARGATE --task-definition "$name-migrate:NEW"
  act aws ecs wait tasks-stopped --region "$region" --cluster "$cluster" --tasks TASK
  exit 0
fi
place="awsvpcConfiguration={subnets=[${SUBNETS:?expected subnet ids with commas}],securityGroups=[${SECURITY_GROUPS:?expected security group ids with commas}]${PUBLIC_IP:+,assignPublicIp=ENABLED}}"
file="$(mktemp)"
trap 'rm -f "$file"' EXIT
aws ecs describe-task-definition --region "$region" --task-definition "$name-migrate" --query taskDefinition --output json |
  jq --arg image "$image" '.containerDefinitions |= map(.image = $image)
    | del(.taskDefinitionArn, .revision, .status, .requiresAttributes, .compatibilities, .registeredAt, .registeredBy)' > "$file"
new="$(aws ecs register-task-definition --region "$region" --cli-input-json "file://$file" \
  --query 'taskDefinition.taskDefinitionArn' --output text)"
task="$(aws ecs run-task --region "$region" --cluster "$cluster" --launch-type FARGATE --task-definition "$new" \
  --network-configuration "$place" --query 'tasks[0].taskArn' --output text)"
[ "$task" != None ] || { echo "the task was not started; see the cluster's events" >&2; exit 1; }
aws ecs wait tasks-stopped --region "$region" --cluster "$cluster" --tasks "$task"
code="$(aws ecs describe-tasks --region "$region" --cluster "$cluster" --tasks "$task" \
  --query 'tasks[0].containers[0].exitCode' --output text)"
echo "migrate ended with $code: log group /ecs/$name/migrate"
[ "$code" = 0 ]
