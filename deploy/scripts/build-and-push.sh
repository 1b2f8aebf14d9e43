#!/usr/bin/env bash
# Builds the image of this checkout, pushes it to ECR and prints it by digest, for update-services.sh.
#   build-and-push.sh [TAG] [--dry-run]      TAG: default is the commit. A tag is never used twice: ECR refuses it.
# AWS_REGION, AWS_ACCOUNT_ID, TRADING_ASSETS_REPOSITORY; BUILDER names the program (docker, podman).
set -euo pipefail
# shellcheck source=deploy/scripts/common.sh
source "$(dirname "$0")/common.sh"
read_arguments "$@"
builder="${BUILDER:-docker}"
need "$builder" aws git
account="${AWS_ACCOUNT_ID:?expected the twelve digits of the AWS account}"
commit="$(git -C "$root" rev-parse --short=12 HEAD)"
if [ -n "$(git -C "$root" status --porcelain)" ]; then
  echo "the checkout has changes that are in no commit; commit them first: an image says which commit it is" >&2
  [ -n "$dry" ] || exit 2
fi
registry="$account.dkr.ecr.$region.amazonaws.com"
image="$registry/$repository:${arguments[0]:-$commit}"
if [ -n "$dry" ]; then
  echo "would run: aws ecr get-login-password --region $region | $builder login --username AWS --password-stdin $registry"
else
  aws ecr get-login-password --region "$region" | "$builder" login --username AWS --password-stdin "$registry"
fi
act "$builder" build --file "$root/Dockerfile" --build-arg "REVISION=$commit" --tag "$image" "$root"
act "$builder" push "$image"
if [ -n "$dry" ]; then
  echo "would print: $registry/$repository@sha256:..."
else
  digest="$(aws ecr describe-images --region "$region" --repository-name "$repository" \
    --image-ids "imageTag=${image##*:}" --query 'imageDetails[0].imageDigest' --output text)"
  echo "$registry/$repository@$digest"
fi
