# shellcheck shell=bash
# Scenarios 1 to 4, 9, and the overload of 12: requests to the model through the contestants, by load.cpp. Sourced by run.

# What a scenario asks for: warm-up and window in seconds, and options. $s is the length of the window.
stream_arguments() { # scenario, of overload: requests a second
  local tokens
  case $1 in
    first-1 | first-1-stored) echo 0.3 "$s" --open 100 --model bench-4-0-0 ;;
    first-50) echo 0.5 "$s" --open 125 --model bench-20-50-0 ;;
    hop-50)
      tokens=$(jq -n "$s * 50 + 50 | ceil")
      echo 0.9 "$s" --open 80 --count 50 --model "bench-$tokens-50-0" ;;
    hop-500)
      tokens=$(jq -n "$s * 20 + 60 | ceil")
      echo 2.5 "$s" --open 300 --count 500 --model "bench-$tokens-20-0" ;;
    grow-100) echo 2 "$s" --open 200 --model bench-40-80-0 ;;
    grow-4000) echo 21 "$s" --open 200 --model bench-40-2-0 ;;
    burst | burst-stored) echo 0.3 "$s" --closed 16 --model bench-64-0-0 ;;
    one-write) echo 0.3 "$s" --closed 16 --model bench-64-0-0-64 ;;
    burst-kept) echo 0.3 "$s" --closed 16 --keep --model bench-64-0-0 ;;
    overload-closed) echo 3 3 --closed 64 --keep --whole --model bench-4-0-0-4 ;;
    tasks | tasks-stored) echo 0.3 "$s" --closed 64 --keep --whole --model bench-4-0-0-4 ;;
    accepts) echo 0.5 "$s" --open 500 --keep --whole --model bench-4-0-0-4 ;;
    overload) echo 3 3 --open "$2" --keep --whole --patience 2 --model bench-4-0-0-4 ;;
    *) echo "run: unknown scenario $1" >&2; return 1 ;;
  esac
}

# disk and memory are two Parlors, with their stores there.
stream_contestants() { # scenario
  case $1 in
    *-stored) echo disk memory ;;
    accepts) echo sync disk memory ;;
    overload) echo disk ;;
    grow-*) echo parlor ;;
    *) echo direct nginx parlor ;;
  esac
}

load() { # contestant, label, seconds of warm-up, seconds, options of the load
  local who=$1 label=$2 warmup=$3 seconds=$4 wire=openai
  shift 4
  if [ "$who" = sync ]; then
    (on client "$build/benchmarks/bench_sync" "$work/sync" "$label")
    return
  fi
  case $who in parlor | disk | memory) wire=parlor ;; esac
  [[ $label != accepts* ]] || wire=accept
  # shellcheck disable=SC2086
  (on client "$build/benchmarks/bench_load" --wire $wire --port "${port[$who]}" ${pids[$who]} --label "$label" \
    --warmup "$warmup" --seconds "$seconds" "$@")
}

measured() { # file for the results, contestant, label, as load
  local out=$1
  shift
  echo "run: $2" >&2
  load "$@" >>"$out" || { echo "run: $2 failed the check of its content:" >&2; tail -n 1 "$out" >&2; exit 1; }
}

# The peak is that of requests that come at random, as too many do; how many that may be is found by clients who
# wait for each other's answers.
measure_overload() { # file for the results, round
  local out=$1 round=$2 most share
  # shellcheck disable=SC2046
  measured "$out" disk "overload closed $round" $(stream_arguments overload-closed)
  most=$(tail -n 1 "$out" | jq '.streams_per_s | floor')
  for share in 80 90 100 200; do
    # shellcheck disable=SC2046
    measured "$out" disk "overload at$share $round" $(stream_arguments overload $((most * share / 100)))
  done
}

measure_streams() { # file for the results, repeats, scenarios
  local out=$1 repeats=$2 scenario who round all=' '
  shift 2
  for scenario in "$@"; do
    for who in $(stream_contestants "$scenario"); do
      [[ $all == *" $who "* ]] || all+="$who "
    done
  done
  start_upstream
  [[ $all != *" nginx "* ]] || start_nginx
  [[ $all != *" parlor "* ]] || parlor_concurrency=8192 start_parlor parlor "${port[direct]}" "$work"
  [[ $all != *" disk "* ]] || start_parlor disk "${port[direct]}" "$work"
  [[ $all != *" memory "* ]] || start_parlor memory "${port[direct]}" "$memory"
  for who in $all; do
    [ "$who" = sync ] || load "$who" "warm-up $who 0" 0 2 --closed 16 --model bench-64-0-0 >/dev/null
  done
  for scenario in "$@"; do
    for round in $(seq "$repeats"); do
      if [ "$scenario" = overload ]; then
        measure_overload "$out" "$round"
        continue
      fi
      # A-B-A-B, the floor in the same seconds.
      for who in $(stream_contestants "$scenario"); do
        # shellcheck disable=SC2046
        measured "$out" "$who" "$scenario $who $round" $(stream_arguments "$scenario")
      done
    done
  done
  stop_all
}
