#!/bin/sh
# Print the images of others that compose.yaml and the Dockerfile name by tag, with the digest that each tag has now, as
# lines for .env. Needs skopeo, or Docker with buildx, and asks the registry:
#   ./pin_images.sh > pinned && cat pinned >> .env
set -eu
here=$(dirname "$0")

pinned() {
    if command -v skopeo >/dev/null; then
        found=$(skopeo inspect --format '{{.Digest}}' "docker://$1")
    else
        found=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$1")
    fi
    case $found in
        sha256:*) echo "$1@$found" ;;
        *) echo "no digest of $1: found '$found', expected sha256:..." >&2; return 1 ;;
    esac
}

sed -n 's/^ *image: ${\([A-Z_]*\):-\(.*\/.*\)}$/\1 \2/p' "$here/compose.yaml" | while read -r name image; do
    line=$(pinned "$image")
    echo "$name=$line"
done
base=$(pinned "$(sed -n 's/^ARG BASE=//p' "$here/../../Dockerfile")")
echo "# make image BASE=$base"
