# What the scripts of this folder share; they source it. Not to be run.
# --dry-run prints every command that would change something, and runs none of them.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
region="${AWS_REGION:-ap-northeast-2}"
name="${TRADING_ASSETS_NAME:-crypto-trading}"
cluster="${TRADING_ASSETS_CLUSTER:-crypto-backtest-cluster}"
repository="${TRADING_ASSETS_REPOSITORY:-tradingbot-ai-production}"
dry=""
arguments=()

usage() { # prints the comment at the head of the script
  sed -n '2,/^set/p' "$0" | sed -n 's/^# \{0,1\}//p'
}

read_arguments() {
  for one in "$@"; do
    case "$one" in
      --dry-run) dry=yes ;;
      -h | --help) usage; exit 0 ;;
      --*) echo "$(basename "$0"): unknown option $one, expected --dry-run or --help" >&2; exit 2 ;;
      *) arguments+=("$one") ;;
    esac
  done
}

act() { # a command that changes something
  if [ -n "$dry" ]; then
    printf 'would run:'
    printf ' %q' "$@"
    printf '\n'
  else
    "$@"
  fi
}

need() { # programs that are called; in a dry run nothing is
  [ -n "$dry" ] && return 0
  for program in "$@"; do
    command -v "$program" > /dev/null || { echo "$program is not installed, expected it on PATH" >&2; exit 2; }
  done
}

need_digest() {
  [[ "${1:-}" =~ ^[^[:space:]]+@sha256:[0-9a-f]{64}$ ]] || {
    echo "found ${1:-nothing}, expected an image by digest: REPOSITORY@sha256:..., as build-and-push.sh prints it" >&2
    exit 2
  }
}
