#!/usr/bin/env bash
# Images for `make compose-test` where no registry of images is reached: a base of Debian's packages, the image of all roles,
# PostgreSQL and RabbitMQ. For root, with debootstrap and buildah; a base that is there already is taken as it is. Prints
# the variables that the test wants. BUILDAH names the program ("buildah --storage-driver overlay"); CA_FILE is a file of
# certificates that the containers are to trust, for networks with an authority of their own.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
read -r -a buildah <<< "${BUILDAH:-buildah}"
base="${BASE:-localhost/python:3.13-slim}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

if ! "${buildah[@]}" inspect --type image "$base" > /dev/null 2>&1; then
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates trixie "$work/root" http://deb.debian.org/debian >&2
  rm -rf "$work"/root/var/cache/apt/archives/*.deb
  trust=()
  if [ -n "${CA_FILE:-}" ]; then
    cp "$CA_FILE" "$work/root/etc/ssl/certs/ca-certificates.crt"
    for name in SSL_CERT_FILE PIP_CERT; do trust+=(--env "$name=/etc/ssl/certs/ca-certificates.crt"); done
  fi
  tar --create --directory "$work/root" --file "$work/base.tar" .
  container="$("${buildah[@]}" from scratch)"
  "${buildah[@]}" add --quiet "$container" "$work/base.tar" / >&2
  "${buildah[@]}" config --env PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin --cmd /bin/sh "${trust[@]}" "$container" >&2
  "${buildah[@]}" commit --quiet --rm "$container" "$base" >&2
fi

build() { "${buildah[@]}" bud --isolation chroot --format docker --layers --build-arg "BASE=$base" "$@" >&2; }
build --build-arg "REVISION=$(git -C "$here" rev-parse --short=12 HEAD)" --tag trading_assets:local "$here/../../.."
for name in postgres rabbitmq; do build --file "$here/$name.Dockerfile" --tag "$name:stand-in" "$here"; done
echo "TRADING_ASSETS_IMAGE=localhost/trading_assets:local POSTGRES_IMAGE=localhost/postgres:stand-in RABBITMQ_IMAGE=localhost/rabbitmq:stand-in"
