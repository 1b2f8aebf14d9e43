#!/usr/bin/env bash
# Gives services a new image, one after the other, and waits for each: code, daemon, web, serve, research, trading.
#   update-services.sh IMAGE@sha256:... [SERVICE ...] [--dry-run]
# A service that does not come up is taken back by ECS (circuit breaker, alarm), and the script ends with 1: the services
# after it keep the old image. What was in force is kept in RELEASES (default releases/ of the checkout), for rollback.sh.
set -euo pipefail
# shellcheck source=deploy/scripts/common.sh
source "$(dirname "$0")/common.sh"
read_arguments "$@"
need aws jq
image="${arguments[0]:-}"
need_digest "$image"
services=("${arguments[@]:1}")
if [ "${#services[@]}" -eq 0 ]; then
  services=(code daemon web serve research trading) # trading last: what it depends on is new and well by then
fi
folder="${RELEASES:-$root/releases}"
record="$folder/$(date -u +%Y%m%dT%H%M%SZ).tsv"
[ -n "$dry" ] || mkdir -p "$folder"
for service in "${services[@]}"; do
  if [ -n "$dry" ]; then
    echo "would run: aws ecs describe-task-definition of $service, with the image $image"
    act aws ecs register-task-definition --region "$region" --cli-input-json "file://$name-$service.json"
    act aws ecs update-service --region "$region" --cluster "$cluster" --service "$service" --task-definition "$name-$service:NEW"
    act aws ecs wait services-stable --region "$region" --cluster "$cluster" --services "$service"
    continue
  fi
  old="$(aws ecs describe-services --region "$region" --cluster "$cluster" --services "$service" \
    --query 'services[0].taskDefinition' --output text)"
  file="$(mktemp)"
  aws ecs describe-task-definition --region "$region" --task-definition "$old" --query taskDefinition --output json |
    jq --arg image "$image" '.containerDefinitions |= map(.image = $image)
      | del(.taskDefinitionArn, .revision, .status, .requiresAttributes, .compatibilities, .registeredAt, .registeredBy)' > "$file"
  new="$(aws ecs register-task-definition --region "$region" --cli-input-json "file://$file" \
    --query 'taskDefinition.taskDefinitionArn' --output text)"
  rm -f "$file"
  printf '%s\t%s\t%s\n' "$service" "$old" "$new" >> "$record"
  aws ecs update-service --region "$region" --cluster "$cluster" --service "$service" --task-definition "$new" > /dev/null
  echo "$service: $old -> $new"
  aws ecs wait services-stable --region "$region" --cluster "$cluster" --services "$service"
  # Stable may also mean: taken back.
  now="$(aws ecs describe-services --region "$region" --cluster "$cluster" --services "$service" \
    --query 'services[0].taskDefinition' --output text)"
  if [ "$now" != "$new" ]; then
    echo "$service was taken back to $now; the services after it were left alone. What was changed: $record" >&2
    exit 1
  fi
done
[ -n "$dry" ] || echo "released; the way back: rollback.sh $record"
