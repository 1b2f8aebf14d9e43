#!/usr/bin/env bash
# What can be tried without an account: format, validity, the rules of tests/, a plan of each variant, and checkov where
# it is there. Nothing is asked of AWS. Terraform must find the provider: its registry, or TF_CLI_CONFIG_FILE.
set -euo pipefail
cd "$(dirname "$0")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
terraform fmt -check -recursive .
cp -r ./*.tf modules tests variants "$work"
terraform -chdir="$work" init -backend=false -input=false > "$work/init.log" || { cat "$work/init.log"; exit 1; }
terraform -chdir="$work" validate
terraform -chdir="$work" test
cat > "$work/offline_override.tf" <<'TF'
terraform {
  backend "local" {}
}
provider "aws" {
  region                      = "ap-northeast-2"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
}
TF
terraform -chdir="$work" init -input=false -reconfigure > "$work/init.log" || { cat "$work/init.log"; exit 1; }
export TF_VAR_account_id=123456789012 TF_VAR_broker_password=not-a-secret-at-all
TF_VAR_image="123456789012.dkr.ecr.ap-northeast-2.amazonaws.com/tradingbot-ai-production@sha256:$(printf '0%.0s' {1..64})"
export TF_VAR_image
for variant in dev default ha; do
  more=()
  if [ "$variant" != dev ]; then
    more=(-var ui_url=https://desk.example.com
      -var certificate_arn=arn:aws:acm:ap-northeast-2:123456789012:certificate/00000000-0000-0000-0000-000000000000)
  fi
  terraform -chdir="$work" plan -input=false -lock=false -refresh=false -var-file="variants/$variant.tfvars" "${more[@]}" \
    -out="$work/$variant.tfplan" > "$work/$variant.log" || { tail -40 "$work/$variant.log"; exit 1; }
  echo "$variant: $(grep -E '^(.\[[0-9]*m)*Plan:' "$work/$variant.log" | sed 's/\x1b\[[0-9;]*m//g')"
done
if command -v checkov > /dev/null; then
  checkov --directory . --config-file .checkov.yaml
else
  echo "checkov is not installed: its rules were not looked at"
fi
