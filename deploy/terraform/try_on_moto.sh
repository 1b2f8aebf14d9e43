#!/usr/bin/env bash
# Applies the variant `default` to moto, a server that answers in AWS' place on this machine, and destroys it again.
# What moto does not know is left out: auto scaling, backups of EFS, stored queries of the logs. PYTHON names an interpreter that has moto[server].
set -euo pipefail
cd "$(dirname "$0")"
python="${PYTHON:-../../.venv/bin/python}"
work="$(mktemp -d)"
port="${PORT:-5055}"
export MOTO_IAM_LOAD_MANAGED_POLICIES=true
"$python" -m moto.server -H 127.0.0.1 -p "$port" > "$work/moto.log" 2>&1 &
server=$!
trap 'kill $server 2> /dev/null || true; rm -rf "$work"' EXIT
cp -r ./*.tf modules variants "$work"
services=(acm applicationautoscaling cloudwatch dynamodb ec2 ecr ecs efs elbv2 events iam kms logs mq rds s3 secretsmanager servicediscovery sns sts)
{
  echo 'terraform {'
  echo '  backend "local" {}'
  echo '}'
  echo 'provider "aws" {'
  echo '  region                      = "ap-northeast-2"'
  echo '  access_key                  = "none"'
  echo '  secret_key                  = "none"'
  echo '  skip_credentials_validation = true'
  echo '  skip_requesting_account_id  = true'
  echo '  skip_metadata_api_check     = true'
  echo '  skip_region_validation      = true'
  echo '  s3_use_path_style           = true'
  echo '  max_retries                 = 2'
  echo '  endpoints {'
  for one in "${services[@]}"; do echo "    $one = \"http://127.0.0.1:$port\""; done
  echo '  }'
  echo '}'
} > "$work/moto_override.tf"
printf 'resource "aws_efs_backup_policy" "this" {\n  count = 0\n}\n' > "$work/modules/efs/moto_override.tf"
printf 'resource "aws_cloudwatch_query_definition" "this" {\n  for_each = {}\n}\n' > "$work/modules/cloudwatch/moto_override.tf"
terraform -chdir="$work" init -input=false > "$work/init.log" || { cat "$work/init.log"; exit 1; }
for _ in $(seq 60); do curl --silent --output /dev/null "http://127.0.0.1:$port/" && break; sleep 1; done
certificate="$("$python" -c "
import boto3
acm = boto3.client('acm', region_name='ap-northeast-2', endpoint_url='http://127.0.0.1:$port', aws_access_key_id='x', aws_secret_access_key='x')
print(acm.request_certificate(DomainName='desk.example.com')['CertificateArn'])")"
image="123456789012.dkr.ecr.ap-northeast-2.amazonaws.com/tradingbot-ai-production@sha256:$(printf '0%.0s' {1..64})"
variables=(-var-file=variants/default.tfvars -var account_id=123456789012 -var "image=$image" -var enable_autoscaling=false
  -var deletion_protection=false -var candles_in_s3=true -var broker_password=not-a-secret-at-all -var ui_url=https://desk.example.com
  -var "certificate_arn=$certificate")
status=0
terraform -chdir="$work" apply -input=false -auto-approve -no-color "${variables[@]}" > "$work/apply.log" 2>&1 || status=$?
grep -E '^(Apply complete|│ Error|Error)' "$work/apply.log" | sort | uniq -c || true
echo "$(terraform -chdir="$work" state list | wc -l) resources are there"
[ "$status" -eq 0 ] || { grep -A6 'Error:' "$work/apply.log" | head -80; }
terraform -chdir="$work" destroy -input=false -auto-approve -no-color "${variables[@]}" > "$work/destroy.log" 2>&1 || status=$?
grep -E '^(Destroy complete|│ Error|Error)' "$work/destroy.log" | sort | uniq -c || true
exit "$status"
