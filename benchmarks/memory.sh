# shellcheck shell=bash
# Scenarios 7, 8 and 11: what is there costs while nothing happens, by idle.cpp. Sourced by run.

crowd=10000 many_sessions=100000 cycles=10 hold=30

hold_open() { # contestant, label, wire, path, more options of idle
  local who=$1 label=$2 wire=$3 path=$4
  shift 4
  # shellcheck disable=SC2086
  (on client "$build/benchmarks/bench_idle" --wire "$wire" --port "${port[$who]}" --path "$path" ${pids[$who]} \
    --label "$label" "$@")
}

# A turn that is over in each of so many sessions, named bench-<first> and so on; prints the load's line.
make_sessions() { # contestant, label, first, how many
  # shellcheck disable=SC2086
  (on client "$build/benchmarks/bench_load" --wire parlor --port "${port[$1]}" ${pids[$1]} --label "$2" --warmup 0 --seconds 600 \
    --closed 64 --keep --whole --first "$3" --count "$4" --model bench-4-0-0-4)
}

metric() { # contestant, name
  curl -sf "http://127.0.0.1:${port[$1]}/metrics" | awk -v name="$2" '$1 == name { print $2 }'
}

pss_of() { # contestant; bytes, when it has come to rest
  # shellcheck disable=SC2086
  (on client "$build/benchmarks/bench_idle" --wire sse --port "${port[$1]}" --path / --count 0 ${pids[$1]} --label x) | jq .least
}

serve_parlor() { # how long a session stays in memory
  parlor_concurrency=1024 start_parlor parlor "${port[direct]}" "$work" --server.max_connections=20000 --session.max_streams=20000 \
    --session.memory="$1" --session.idle_expiry=6h
  make_sessions parlor "warm-up parlor 0" 1000000 2000 >/dev/null
}

measure_memory() { # file for the results, repeats (not used: memory does not scatter), scenarios
  local out=$1 scenario who before
  shift 2
  for scenario in "$@"; do
    echo "run: $scenario" >&2
    start_upstream
    case $scenario in
      idle-sse | idle-ws)
        serve_parlor 1h
        start_nchan
        [ "$scenario" = idle-ws ] || { start_bare; hold_open bare "$scenario bare 1" sse /sub/ --count $crowd --cycles $cycles >>"$out"; }
        if [ "$scenario" = idle-sse ]; then
          hold_open nchan "$scenario nchan 1" sse /sub/ --count $crowd --cycles $cycles >>"$out"
          hold_open parlor "$scenario parlor 1" sse /api/sessions/bench-1000000/events?n= --count $crowd --cycles $cycles >>"$out"
        else
          hold_open nchan "$scenario nchan 1" ws /sub/ --count $crowd --cycles $cycles >>"$out"
          hold_open parlor "$scenario parlor 1" ws "/ws/learning?session_id=page-" --rooms $crowd --count $crowd --cycles $cycles >>"$out"
        fi
        ;;
      sessions)
        serve_parlor 1h
        before=$(pss_of parlor)
        make_sessions parlor "sessions-made parlor 1" 1 $many_sessions >>"$out"
        jq -nc --argjson before "$before" --argjson after "$(pss_of parlor)" --argjson n $many_sessions \
          --argjson there "$(metric parlor parlor_sessions_active)" \
          '{label: "sessions parlor 1", there: $there, bytes_each: (($after - $before) / $n)}' >>"$out"
        # The same server, and watchers of some of the sessions.
        hold_open parlor "quiet-sessions parlor 1" sse / --count 0 --hold $hold >>"$out"
        hold_open parlor "quiet parlor 1" sse "/api/sessions/bench-" --rooms $crowd --first 1 --count $crowd --hold $hold >>"$out"
        start_nchan
        hold_open nchan "quiet nchan 1" sse /sub/ --count $crowd --rooms $crowd --hold $hold >>"$out"
        ;;
      passivated)
        serve_parlor 5s
        until [ "$(metric parlor parlor_sessions_active)" = 0 ]; do sleep 1; done
        before=$(pss_of parlor)
        make_sessions parlor "passivated-made parlor 1" 1 $many_sessions >/dev/null
        until [ "$(metric parlor parlor_sessions_active)" = 0 ]; do sleep 1; done
        jq -nc --argjson before "$before" --argjson after "$(pss_of parlor)" --argjson n $many_sessions \
          '{label: "passivated parlor 1", bytes_each: (($after - $before) / $n)}' >>"$out"
        ;;
      *) echo "run: unknown scenario $scenario" >&2; return 1 ;;
    esac
    stop_all
  done
}
