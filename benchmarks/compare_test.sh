#!/usr/bin/env bash
# The comparison of ./dev bench --check must fail on a regression, and on nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

verdict() { # ratios of another day, ratios of this run
  echo "$1" >"$folder/was.json"
  echo "$2" >"$folder/is.json"
  jq -rn -f compare.jq --slurpfile was "$folder/was.json" --slurpfile is "$folder/is.json"
}
expect() { # first word of each line, ratios, ratios
  local got
  got=$(verdict "$2" "$3" | sed 's/:.*//' | tr '\n' ' ')
  [ "$got" = "$1 " ] || { echo "compare_test: expected $1, got $got for $2 and $3" >&2; exit 1; }
}
cpu='{"a": {"ratio": 2, "better": "less"}}'
rate='{"a": {"ratio": 0.8, "better": "more"}}'
expect same "$cpu" '{"a": {"ratio": 2.49, "better": "less"}}'
expect worse "$cpu" '{"a": {"ratio": 2.51, "better": "less"}}'
expect better "$cpu" '{"a": {"ratio": 1.5, "better": "less"}}'
expect same "$rate" '{"a": {"ratio": 0.65, "better": "more"}}'
expect worse "$rate" '{"a": {"ratio": 0.63, "better": "more"}}'
# One that is worse is enough; what was not measured today says nothing, what is new neither.
expect 'same worse' '{"a": {"ratio": 2}, "b": {"ratio": 3}, "c": {"ratio": 4}}' \
  '{"a": {"ratio": 2, "better": "less"}, "b": {"ratio": 4, "better": "less"}, "d": {"ratio": 9, "better": "less"}}'
# Nothing to compare is no success.
expect worse '{}' "$cpu"

# And from the lines of the loads: the same run with Parlor's CPU half as large again.
line() { # scenario, contestant, µs of CPU
  printf '{"label":"%s %s 1","cpu_us_per_token":%s,"tokens_per_s":1000}\n' "$@"
}
figures() { jq -s -f table.jq --arg show figures; }
was=$({ line burst nginx 5; line burst parlor 10; } | figures)
expect same "$was" "$({ line burst nginx 7; line burst parlor 14; } | figures)" # a slower machine
expect worse "$was" "$({ line burst nginx 5; line burst parlor 15; } | figures)"
