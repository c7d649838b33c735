# shellcheck shell=bash
# Starts and stops the contestants. Sourced by run, which sets: build, work, pinned, cores.
# Each start_* leaves where it listens in port[name] and its processes, as options of the loads, in pids[name].

declare -A port pids
started=()

stop_all() {
  [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
  local pid
  for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
  started=() port=() pids=()
}

on() { # server|client, command...
  local where=$1 core=${cores[0]}
  shift
  [ "$where" = server ] || core=${cores[1]:-$core}
  # A lock that whoever called us holds is not the servers' business.
  if [ $pinned = 1 ]; then exec taskset -c "$core" "$@" 3>&- 4>&-; else exec "$@" 3>&- 4>&-; fi
}

free_port() {
  local i n
  for i in $(seq 50); do
    n=$((20000 + RANDOM % 10000))
    (: <"/dev/tcp/127.0.0.1/$n") 2>/dev/null || { echo $n; return 0; }
  done
  return 1
}

until_answers() { # port, log
  local i
  for i in $(seq 200); do
    (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
    sleep 0.05
  done
  echo "run: nothing answers on port $1" >&2
  cat "$2" >&2
  return 1
}

port_of() { # file, in which a program says what it listens on
  local i port=
  for i in $(seq 200); do
    port=$(sed -n 's/.*listening.*:\([0-9]*\)$/\1/p' "$1")
    [ -z "$port" ] || break
    kill -0 "$!" 2>/dev/null || break
    sleep 0.05
  done
  [ -n "$port" ] || { echo "run: it did not start:" >&2; cat "$1" >&2; return 1; }
  echo "$port"
}

start_upstream() {
  (on client "$build/benchmarks/bench_upstream") >"$work/upstream.log" 2>&1 &
  started+=($!)
  pids[direct]="--pid $!"
  port[direct]=$(port_of "$work/upstream.log")
}

start_bare() {
  (on server "$build/benchmarks/bench_bare") >"$work/bare.log" 2>&1 &
  started+=($!)
  pids[bare]="--pid $!"
  port[bare]=$(port_of "$work/bare.log")
}

nginx_program() { # name, what comes before `events`, what is in `http`; one worker for a core
  local name=$1 dir=$work/$1 user='' workers=1 master
  [ "$(id -u)" -ne 0 ] || user='user root;'
  [ $pinned = 1 ] || workers=${#cores[@]}
  mkdir -p "$dir"
  cat >"$dir/nginx.conf" <<CONF
$2
$user
daemon off;
worker_processes $workers;
worker_rlimit_nofile $(ulimit -Hn);
pid $dir/pid;
error_log $dir/error.log warn;
events { worker_connections $(ulimit -Hn); }
http {
  access_log off;
  client_body_temp_path $dir/body;
  proxy_temp_path $dir/proxy;
  fastcgi_temp_path $dir/fastcgi;
  uwsgi_temp_path $dir/uwsgi;
  scgi_temp_path $dir/scgi;
  keepalive_requests 100000000;
$3
}
CONF
  (on server nginx -p "$dir" -c "$dir/nginx.conf") >"$dir/log" 2>&1 &
  master=$!
  started+=("$master")
  until_answers "${port[$name]}" "$dir/log"
  pids[$name]="--pid $master $(pgrep -P "$master" | sed 's/^/--pid /' | tr '\n' ' ')"
}

start_nginx() { # a plain streaming proxy, as its documentation would have it
  port[nginx]=$(free_port)
  nginx_program nginx '' "
  upstream model {
    server 127.0.0.1:${port[direct]};
    keepalive 1024;
    keepalive_requests 100000000;
  }
  server {
    listen 127.0.0.1:${port[nginx]} backlog=4096;
    location / {
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection '';
      proxy_buffering off;
      proxy_request_buffering off;
    }
  }"
}

nchan_module=/usr/lib/nginx/modules/ngx_nchan_module.so

start_nchan() { # a channel for a room; it keeps the last ten events of each
  port[nchan]=$(free_port)
  nginx_program nchan "load_module $nchan_module;" "
  nchan_shared_memory_size 512m;
  server {
    listen 127.0.0.1:${port[nchan]} backlog=4096;
    location ~ ^/pub/([0-9]+)\$ {
      nchan_publisher http;
      nchan_channel_id \$1;
      nchan_message_buffer_length 10;
    }
    location ~ ^/sub/([0-9]+)\$ {
      nchan_subscriber eventsource websocket;
      nchan_channel_id \$1;
      nchan_subscriber_first_message newest;
    }
  }"
}

# As shipped: one durable store, all turns recorded; but no access log, as nginx has none here.
start_parlor() { # name, the model's port, directory of the store, more options of `serve`
  local name=$1 model=$2 store=$3 threads=1
  shift 3
  [ $pinned = 1 ] || threads=0
  mkdir -p "$store"
  cat >"$work/$name.toml" <<CONF
[[provider]]
name = "bench"
kind = "openai"
base_url = "http://127.0.0.1:$model/v1"
concurrency = ${parlor_concurrency:-1024}
[[model]]
name = "*"
provider = "bench"
CONF
  rm -f "$store/$name".db*
  (PARLOR_LOG_FORMAT=text PARLOR_LOG_LEVEL=warn PARLOR_SERVER_THREADS=$threads on server "$build/parlor" serve --server.max_requests=1000000 \
    --config="$work/$name.toml" --server.listen=127.0.0.1:0 --store.path="$store/$name.db" "$@") \
    >"$work/$name.log" 2>&1 &
  started+=($!)
  pids[$name]="--pid $!"
  port[$name]=$(port_of "$work/$name.log")
}
