#!/bin/sh
# Makes every password and key that compose.yaml names, once, into the folder `secrets` beside it (or the folder given).
# What is there already stays: run again after an update, it adds what is new. Prints no secret.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
chmod 700 "$folder" # the door: the files within are readable, because each container reads them as an account of its own
umask 022

random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

keep() { # name: standard input becomes that file, unless it is there
    if [ -e "$folder/$1" ]; then cat >/dev/null; return; fi
    cat >"$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
    echo "made $folder/$1"
}

for name in postgres_password database_password bus_password redis_password grafana_password; do random | keep "$name"; done
read_secret() { cat "$folder/$1"; }

printf 'sbp_%s' "$(random)" | keep platform_key
printf '1:%s' "$(head -c 32 /dev/urandom | base64)" | keep master_keys
printf 'postgresql://signalbox_login:%s@postgres:5432/signalbox' "$(read_secret database_password)" | keep database_url
printf 'amqp://signalbox:%s@rabbitmq:5672/' "$(read_secret bus_password)" | keep bus_url
printf 'redis://:%s@valkey:6379/0' "$(read_secret redis_password)" | keep redis_url
keep rabbitmq.conf <<END
default_user = signalbox
default_pass = $(read_secret bus_password)
log.console = true
log.console.level = warning
log.file = false
disk_free_limit.absolute = 1GB
END
# Nothing in it has to outlive it: windows, rates and wake-ups are made anew from PostgreSQL.
keep valkey.conf <<END
requirepass $(read_secret redis_password)
save ""
appendonly no
maxmemory 256mb
maxmemory-policy volatile-lru
END
