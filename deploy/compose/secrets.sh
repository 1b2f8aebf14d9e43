#!/usr/bin/env bash
# Makes the secrets of compose.yaml below secrets/, those that are not there yet. What stands there is never changed.
#   ./secrets.sh            passwords and tokens by chance; keys and channels empty, for you to fill in
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
chmod 0700 secrets
# The folder is its owner's alone. The files are readable, because a container reads its own as another user.
put() {
  if [ ! -e "secrets/$1" ]; then
    printf '%s' "$2" > "secrets/$1"
    chmod 0444 "secrets/$1"
    echo "secrets/$1 is made"
  fi
}
chance() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
for name in postgres_password broker_password ui_token monitor_token dashboard_token; do put "$name" "$(chance)"; done
for name in bybit_api_key bybit_api_secret; do put "$name" ""; done
put notify_urls "[]"
put rabbitmq_conf "default_user = trading_assets
default_pass = $(cat secrets/broker_password)
"
