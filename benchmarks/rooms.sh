# shellcheck shell=bash
# Scenarios 5 and 6, and the slow readers of 12: rooms with watchers, by fan.cpp. Sourced by run.

# What a scenario asks for; $s is the length of its window in seconds.
room_arguments() { # scenario
  case $1 in
    fan-1000) echo --rooms 1 --watchers 1000 --window 1 ;;
    fan-8000) echo --rooms 1 --watchers 8000 --window 1 ;;
    fan-ahead) echo --rooms 1 --watchers 1000 --window 4 ;;
    fan-paced) echo --rooms 1 --watchers 1000 --rate 20000 ;;
    fan-large) echo --rooms 1 --watchers 200 --rate 6000 --size 16000 --seconds 6 ;;
    fan-slow) echo --rooms 1 --watchers 200 --rate 6000 --size 16000 --seconds 6 --slow 5 ;;
    rooms-1000) echo --rooms 1000 --watchers 1 --window 1 ;;
    rooms-many) echo --rooms $(($(ulimit -Hn) < 21000 ? ($(ulimit -Hn) - 1000) / 2 : 10000)) --watchers 1 --window 1 ;;
    *) echo "run: unknown scenario $1" >&2; return 1 ;;
  esac
}

watch() { # contestant, label, seconds, options of the load
  local who=$1 label=$2 seconds=$3 wire=post
  shift 3
  [ "$who" != parlor ] || wire="parlor --model-port $model_port"
  # shellcheck disable=SC2086
  (on client "$build/benchmarks/bench_fan" --wire $wire --port "${port[$who]}" ${pids[$who]} --label "$label" \
    --warmup 0.3 --seconds "$seconds" "$@")
}

measure_rooms() { # file for the results, repeats, scenarios
  local out=$1 repeats=$2 scenario who round
  shift 2
  model_port=$(free_port)
  start_bare
  start_nchan
  parlor_concurrency=20000 start_parlor parlor "$model_port" "$work" --server.max_connections=20000 --session.max_streams=20000
  for who in bare nchan parlor; do
    watch $who "warm-up $who 0" 1 --rooms 100 --watchers 10 --window 1 >/dev/null
  done
  for scenario in "$@"; do
    for round in $(seq "$repeats"); do
      for who in bare nchan parlor; do
        echo "run: $scenario $who $round/$repeats" >&2
        # shellcheck disable=SC2046
        watch $who "$scenario $who $round" "$s" $(room_arguments "$scenario") >>"$out" ||
          { echo "run: $scenario: $who failed the check of its content:" >&2; tail -n 1 "$out" >&2; exit 1; }
      done
    done
  done
  stop_all
}
