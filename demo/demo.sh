#!/usr/bin/env bash
# "The night the disk dies": the main job on real data, on one machine, in private folders and on
# private UNIX sockets. Leaves nothing running and nothing behind.
#
#   demo/demo.sh PROGRAM        PROGRAM: the built sealane
#
# SEALANE_DEMO_SCALE=0.1 makes a tenth of the rows. SEALANE_DEMO_KEEP=1 keeps the folder.
set -euo pipefail

program=$(realpath "${1:?usage: demo/demo.sh PROGRAM}")
scale=${SEALANE_DEMO_SCALE:-1}
started=$(date +%s)

rows() { awk -v n="$1" -v s="$scale" 'BEGIN { printf "%d", (n * s < 100) ? 100 : n * s }'; }
orders=$(rows 200000) customers=$(rows 40000) articles=$(rows 120000) keys=$(rows 100000)

# ── a stage of our own ───────────────────────────────────────────────────────────────────────────
stage=$(mktemp -d /tmp/sealane-demo.XXXXXX)
chmod 755 "$stage"
mkdir "$stage"/{shop,vault,prover,newhost}
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\e[1m' dim=$'\e[2m' off=$'\e[0m'; else bold='' dim='' off=''; fi

# PostgreSQL refuses to run as root; then it runs as its own user.
as_database_user=()
if [[ $(id -u) == 0 ]]; then as_database_user=(setpriv --reuid=postgres --regid=postgres --clear-groups --); fi
pg_bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
pids=()

start_postgresql() {  # FOLDER
  mkdir -p "$1"
  if [[ $(id -u) == 0 ]]; then chown postgres "$1"; fi
  (cd "$1" && "${as_database_user[@]}" "$pg_bin/initdb" -D "$1/data" -U shop -A trust -E UTF8 --locale=C.UTF-8 -N >/dev/null)
  (cd "$1" && "${as_database_user[@]}" "$pg_bin/pg_ctl" -D "$1/data" -l "$1/log" -w -s \
    -o "-c listen_addresses='' -c unix_socket_directories='$1' -c fsync=off" start)
}
stop_postgresql() {  # FOLDER
  if [[ -f $1/data/postmaster.pid ]]; then
    (cd "$1" && "${as_database_user[@]}" "$pg_bin/pg_ctl" -D "$1/data" -m immediate -s stop) || true
  fi
}
start_redis() {  # FOLDER
  mkdir -p "$1"
  (cd "$1" && exec redis-server --port 0 --unixsocket "$1/redis.sock" --save '' --dir "$1" \
    --repl-diskless-sync-delay 0 --loglevel warning --logfile "$1/log") &
  pids+=($!)
  redis_pid=$!
  for _ in $(seq 100); do
    if redis-cli -s "$1/redis.sock" ping >/dev/null 2>&1; then return; fi
    sleep 0.05
  done
  echo "redis-server did not start" >&2
  exit 1
}
finish() {
  local status=$?
  set +e
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  wait 2>/dev/null
  stop_postgresql "$stage/shop/pg" 2>/dev/null
  stop_postgresql "$stage/newhost/pg" 2>/dev/null
  if [[ -z ${SEALANE_DEMO_KEEP:-} ]]; then rm -rf "$stage"; else echo "kept: $stage"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n%s── %s%s\n' "$bold" "$1" "$off"; }
# Shows a command as a person would type it, runs it, and insists on its exit code.
expect() {  # CODE COMMAND…
  local wanted=$1 status=0
  shift
  local shown="$*"
  shown=${shown//$program/sealane}
  printf '%s$ %s%s\n' "$dim" "${shown//$stage\//}" "$off"
  "$@" 2>&1 | sed "s#$stage/##g" || status=${PIPESTATUS[0]}
  if [[ $wanted != 0 ]]; then printf '%s(exit code %s)%s\n' "$dim" "$status" "$off"; fi
  if [[ $status != "$wanted" ]]; then
    echo "demo: expected exit code $wanted, got $status" >&2
    exit 1
  fi
}

# ── the shop ─────────────────────────────────────────────────────────────────────────────────────
say "A shop: PostgreSQL, SQLite and Redis, and a writer that never sleeps"
pg=$stage/shop/pg
start_postgresql "$pg"
start_redis "$stage/shop/redis"
shop_redis=$redis_pid
psql -q -h "$pg" -U shop -d postgres -c 'CREATE DATABASE shop' -c "CREATE ROLE clerk LOGIN PASSWORD 'night shift'"
psql -q -h "$pg" -U shop -d shop -v ON_ERROR_STOP=1 \
  -v customers="$customers" -v orders="$orders" -f "$(dirname "$0")/shop.sql"
sqlite3 "$stage/shop/articles.db" "PRAGMA journal_mode=WAL" >/dev/null
sed "s/:articles/$articles/" "$(dirname "$0")/articles.sql" | sqlite3 "$stage/shop/articles.db"
awk -v n="$keys" -f "$(dirname "$0")/keys.awk" | redis-cli -s "$stage/shop/redis/redis.sock" --pipe >/dev/null
(
  n=0
  while :; do
    n=$((n + 1))
    psql -q -h "$pg" -U shop -d shop -c "INSERT INTO orders (customer_id, placed_at, status, total, note) SELECT 1 + (random() * $((customers - 1)))::int, now(), 'new', round((random() * 200)::numeric, 2), 'tonight' FROM generate_series(1, 50)"
    sqlite3 -cmd '.timeout 5000' "$stage/shop/articles.db" "UPDATE articles SET stock = stock - 1 WHERE id = $n"
    redis-cli -s "$stage/shop/redis/redis.sock" incr visits >/dev/null
    sleep 0.05
  done
) >/dev/null 2>&1 &
writer=$!
pids+=("$writer")
echo "$orders orders and $customers customers in PostgreSQL, $articles articles in SQLite, $keys keys in Redis"

say "Keys: the shop can seal but not open; the recovery key never lives on the shop or the vault"
export SEALANE_HOME=$stage/shop
expect 0 "$program" keygen -o "$stage/shop/identity" --comment shop
expect 0 "$program" keygen -o "$stage/prover/identity" --comment prover
expect 0 "$program" keygen --recovery -o "$stage/prover/recovery.key"
grep -o 'age1[a-z0-9]*' "$stage/prover/recovery.key" | head -n 1 >"$stage/shop/recipients.txt"
# Who may sign what: the prover believes the shop's commits, everybody believes the prover's proofs.
{
  echo "shop $(cut -d' ' -f1,2 "$stage/shop/identity.pub")"
  echo "prover $(cut -d' ' -f1,2 "$stage/prover/identity.pub")"
} >"$stage/trusted_keys"
export SEALANE_TRUST=$stage/trusted_keys

say "Backup, while the writer writes"
expect 0 "$program" repo init "$stage/vault/repo"
export SEALANE_REPO=$stage/vault/repo
shop_sources=(--source "postgresql://shop@/shop?host=$pg" --source "sqlite:$stage/shop/articles.db"
  --source "redis+unix://$stage/shop/redis/redis.sock")
expect 0 "$program" backup --plan shop -R "$stage/shop/recipients.txt" --identity "$stage/shop/identity" "${shop_sources[@]}"

say "A warm copy of the shop's Redis on the vault, while it takes writes; cut in the middle, resumed"
start_redis "$stage/vault/redis"
(umask 077; echo "hex:$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')" >"$stage/cluster.secret")
"$program" warm serve --quiet --listen "unix:$stage/vault/warm.sock" --into "redis+unix://$stage/vault/redis/redis.sock" \
  --secret-file "$stage/cluster.secret" --accept-plaintext --mode overwrite >"$stage/vault/warm.log" 2>&1 &
warm_server=$!
pids+=("$warm_server")
for _ in $(seq 100); do [[ -S $stage/vault/warm.sock ]] && break; sleep 0.05; done
warm=("$program" warm push --from "redis+unix://$stage/shop/redis/redis.sock" --to "unix:$stage/vault/warm.sock"
  --secret-file "$stage/cluster.secret" --plain --part-size 1)
"${warm[@]}" --quiet --rate 3000000 >/dev/null 2>&1 &
cut=$!
for _ in $(seq 100); do ls "$stage/shop/warm"/*[0-9a-f] >/dev/null 2>&1 && break; sleep 0.05; done
kill -9 "$cut" 2>/dev/null || true
wait "$cut" 2>/dev/null || true
expect 0 "${warm[@]}"
kill -STOP "$writer"
expect 0 "$program" warm compare "redis+unix://$stage/shop/redis/redis.sock" "redis+unix://$stage/vault/redis/redis.sock" --repair
kill -CONT "$writer"
kill "$warm_server"
wait "$warm_server" || true

say "The shop tells the prover, through a hub that cannot read it"
"$program" hub serve --state "$stage/hub" --listen tcp:127.0.0.1:0 --json >"$stage/hub.json" &
pids+=("$!")
until grep -q hub_listening "$stage/hub.json"; do sleep 0.1; done
hub_address=$(grep -o 'tcp:[0-9.:]*' "$stage/hub.json" | head -n 1)
for name in shop prover; do
  expect 0 "$program" hub enrol "$name" --state "$stage/hub" --identity "$stage/$name/identity.pub" \
    --address "$hub_address" --out "$stage/$name/hub"
done
SEALANE_HOME=$stage/prover "$program" listen --count 1 >"$stage/prover/messages" 2>/dev/null &
listener=$!
pids+=("$listener")
note="tonight's backup of the shop is in the vault"
expect 0 "$program" send prover --text "$note"
wait "$listener"
echo "the prover read: $(cat "$stage/prover/messages")"
if grep -rqF "$note" "$stage/hub" "$stage/hub.json"; then
  echo "demo: the hub has seen the message" >&2
  exit 1
fi
echo "the hub's log and queue do not contain it"

say "A thief with everything that shop and vault hold cannot open it"
object=$(find "$stage/vault/repo/hosts" -name '*database.zst.age' -path '*postgresql*' | sort | head -n 1)
expect 12 "$program" open -i "$stage/shop/identity" -o "$stage/stolen" "$object"

say "One flipped byte in a copy of the vault is found and named"
cp -r "$stage/vault/repo" "$stage/vault/copy"
damaged=${object/vault\/repo/vault/copy}
size=$(stat -c %s "$damaged")
old=$(od -An -tu1 -j $((size / 2)) -N 1 "$damaged" | tr -d ' ')
printf "$(printf '\\x%02x' $((old ^ 1)))" | dd of="$damaged" bs=1 seek=$((size / 2)) conv=notrunc status=none
expect 30 "$program" verify --repo "$stage/vault/copy"
expect 0 "$program" verify

say "Proof: every snapshot restored into a throw-away server, compared with the shop at that moment"
expect 0 "$program" drill --all -i "$stage/prover/recovery.key" --identity "$stage/prover/identity"

say "The disk dies"
kill "$writer" "$shop_redis" 2>/dev/null || true
wait "$writer" "$shop_redis" 2>/dev/null || true
stop_postgresql "$pg"
rm -rf "$pg" "$stage/shop"
echo "shop/ is gone: databases, identity, everything"

say "A new host, the vault and the recovery key"
export SEALANE_HOME=$stage/newhost
start_postgresql "$stage/newhost/pg"
start_redis "$stage/newhost/redis"
psql -q -h "$stage/newhost/pg" -U shop -d postgres -c 'CREATE DATABASE shop'
expect 0 "$program" restore latest:shop.postgresql -i "$stage/prover/recovery.key" --to "postgresql://shop@/shop?host=$stage/newhost/pg"
expect 0 "$program" restore latest:shop.sqlite -i "$stage/prover/recovery.key" --to "sqlite:$stage/newhost/articles.db"
expect 0 "$program" restore latest:shop.redis -i "$stage/prover/recovery.key" --to "redis+unix://$stage/newhost/redis/redis.sock"

say "The same without Sealane: age, zstd and pg_restore"
psql -q -h "$stage/newhost/pg" -U shop -d postgres -c 'CREATE DATABASE by_hand'
printf '%s$ age -d -i recovery.key %s | zstd -d | pg_restore -d by_hand%s\n' "$dim" "${object#"$stage"/}" "$off"
age -d -i "$stage/prover/recovery.key" "$object" | zstd -d -q | pg_restore --no-owner -h "$stage/newhost/pg" -U shop -d by_hand
count() { psql -At -h "$stage/newhost/pg" -U shop -d "$1" -c 'SELECT count(*) FROM orders'; }
echo "orders restored by hand: $(count by_hand), by Sealane: $(count shop)"
[[ $(count by_hand) == "$(count shop)" ]]

say "What the vault holds"
expect 0 "$program" snapshots -i "$stage/prover/recovery.key"
echo
echo "Done in $(($(date +%s) - started)) s. Nothing is left running."
