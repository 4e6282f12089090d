#!/usr/bin/env bash
# Reads a bus with real Kafka clients: kcat, and those that the Python given has (kafka-python, confluent-kafka, aiokafka).
# Usage: clients.sh BINARIES BUS [PYTHON]; needs a bus with messages, and kcat. Ends with `ok` or with what is wrong.
set -euo pipefail
binaries=$1 bus=$2 python=${3:-python3}
here=$(dirname "$0")
scratch=$(mktemp -d)

"$binaries/archive" serve --listen 127.0.0.1:0 --bus "$bus" 2>"$scratch/notes" &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -rf "$scratch"' EXIT

fail() { echo "clients: $*" >&2; exit 1; }

address=
for _ in $(seq 200); do
    address=$(sed -n 's/.* at \(127\.0\.0\.1:[0-9]*\)$/\1/p' "$scratch/notes")
    [ -z "$address" ] || break
    kill -0 "$server" 2>/dev/null || fail "archive serve ended: $(cat "$scratch/notes")"
    sleep 0.05
done
[ -n "$address" ] || fail 'archive serve named no address'

kcat() { timeout 60 kcat -q -b "$address" "$@"; }

topics=$(kcat -L | sed -n 's/^ *topic "\([^"]*\)" with 1 partitions:$/\1/p')
[ -n "$topics" ] || fail 'kcat sees no topic'
for topic in $topics; do
    kcat -C -t "$topic" -o beginning -e -f '%p %o\n' >"$scratch/$topic"
    first=$(kcat -Q -t "$topic:0:-2" | sed 's/.* offset //')
    end=$(kcat -Q -t "$topic:0:-1" | sed 's/.* offset //')
    seq -f '0 %.0f' "$first" $((end - 1)) | cmp -s - "$scratch/$topic" || fail "$topic: kcat does not read $first to $end in order"
    echo "kcat: $topic, offsets $first to $end"
done

topic=$(echo "$topics" | grep '\.json$' | head -n 1)
if echo 'not of this journal' | timeout 60 kcat -b "$address" -P -t "${topic%.json}" -X message.timeout.ms=5000 2>"$scratch/refusal"; then
    fail 'a write was taken'
fi
grep -q 'authorization failed' "$scratch/refusal" || fail "a write was refused with: $(cat "$scratch/refusal")"

# shellcheck disable=SC2086
timeout 300 "$python" "$here/clients.py" "$address" $topics

kill "$server"
wait "$server" || fail "archive serve ended with $?"
echo ok
