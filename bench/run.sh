#!/bin/bash
# CPU microseconds a request of the proxy beside nginx and HAProxy: one origin, interleaved runs, each
# server on core 0, load and origin on the others. Reads utime + stime of each server from /proc. The
# machine is noisy: trust the ratios. MODE=paid adds the configuration in PAID_CONFIG and the header in
# PAID_HEADER (an access token) for the proxy alone. ROUNDS, SECONDS_EACH and CONNECTIONS bound a run.
set -euo pipefail
cd "$(dirname "$0")/.."
PRESET=${PRESET:-release} ROUNDS=${ROUNDS:-3} SECONDS_EACH=${SECONDS_EACH:-3} CONNECTIONS=${CONNECTIONS:-64}
MODE=${MODE:-plain} BIN=${BIN:-build/$PRESET/bin/proxy}
ORIGIN=18701 PROXY=18702 NGINX=18703 HAPROXY=18704 OPS=18705
cpus=$(nproc)
server_cpu=0
load_cpu=$([ "$cpus" -gt 1 ] && echo "1-$((cpus - 1))" || echo 0)
dir=$(mktemp -d /tmp/octroi-bench.XXXXXX)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap finish EXIT

nginx_conf() { # port, body of the location, upstream block
    cat <<CONF
daemon off; master_process off; worker_processes 1; pid $dir/nginx-$1.pid; error_log $dir/nginx-$1.err crit;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 75s;
  client_body_temp_path $dir/t1; proxy_temp_path $dir/t2; fastcgi_temp_path $dir/t3; uwsgi_temp_path $dir/t4; scgi_temp_path $dir/t5;
  $3
  server { listen 127.0.0.1:$1; $2 }
}
CONF
}
head -c 65536 /dev/zero | tr '\0' x >"$dir/64k"
nginx_conf $ORIGIN "location / { return 200 \"hello world\n\"; } location = /64k { root $dir; }" "" >"$dir/origin.conf"
nginx_conf $NGINX "location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host \$host; proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto \$scheme; proxy_set_header X-Request-Id \$request_id; }" \
    "upstream origin { server 127.0.0.1:$ORIGIN; keepalive 256; keepalive_requests 1000000000; }" >"$dir/nginx.conf"
cat >"$dir/haproxy.cfg" <<CONF
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  http-reuse always
frontend in
  bind 127.0.0.1:$HAPROXY
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  unique-id-format %[rand(1000000000)]%[rand(1000000000)]
  unique-id-header X-Request-Id
  default_backend origin
backend origin
  server a 127.0.0.1:$ORIGIN pool-max-conn 256
CONF
if [ "$MODE" = paid ]; then
    cp "$PAID_CONFIG" "$dir/proxy.yaml"
else
    cat >"$dir/proxy.yaml" <<CONF
listeners: ["127.0.0.1:$PROXY"]
ops: { address: "127.0.0.1:$OPS" }
workers: "1"
access_log: { sample: ${SAMPLE:-0} }
timeouts: { drain_delay: 0s, shutdown: 1s }
pools: { api: { backends: ["http://127.0.0.1:$ORIGIN"] } }
routes: [{ path: /, pool: api }]
CONF
fi

start() { # name, cpu, command...
    local name=$1 cpu=$2
    shift 2
    taskset -c "$cpu" "$@" >"$dir/$name.log" 2>&1 &
    pids+=($!)
    eval "pid_$name=$!"
}
start origin "$load_cpu" nginx -c "$dir/origin.conf"
start nginx "$server_cpu" nginx -c "$dir/nginx.conf"
command -v haproxy >/dev/null && start haproxy "$server_cpu" haproxy -db -f "$dir/haproxy.cfg"
start proxy "$server_cpu" "$BIN" -c "$dir/proxy.yaml"
for port in $ORIGIN $PROXY $NGINX; do
    for _ in $(seq 100); do
        curl -s -o /dev/null "http://127.0.0.1:$port/" && break
        sleep 0.05
    done
done

ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
hz=$(getconf CLK_TCK)
measure() { # name, port, path -> microseconds a request
    local pid_var="pid_$1" before after requests header=()
    [ "$1" = proxy ] && [ -n "${PAID_HEADER:-}" ] && header=(-H "$PAID_HEADER")
    before=$(ticks "${!pid_var}")
    requests=$(taskset -c "$load_cpu" wrk -t1 -c"$CONNECTIONS" -d"${SECONDS_EACH}s" "${header[@]}" "http://127.0.0.1:$2$3" | tee -a "$dir/wrk.log" | awk '/requests in/ { print $1 }')
    after=$(ticks "${!pid_var}")
    awk -v t=$((after - before)) -v hz="$hz" -v n="$requests" 'BEGIN { printf "%.2f\n", t * 1e6 / hz / n }'
}
for path in /small /64k; do
    [ "$MODE" = paid ] && [ "$path" = /64k ] && continue
    : >"$dir/result"
    for _ in $(seq "$ROUNDS"); do
        for server in proxy nginx haproxy; do
            pid_var="pid_$server"
            [ -n "${!pid_var:-}" ] || continue
            case $server in proxy) port=$PROXY ;; nginx) port=$NGINX ;; haproxy) port=$HAPROXY ;; esac
            echo "$server $(measure $server $port $path)" >>"$dir/result"
        done
    done
    awk -v path="$path" -v mode="$MODE" '
        { sum[$1] += $2; n[$1]++ }
        END {
            printf "%s %s:", mode, path
            for (s in sum) printf "  %s %.1f us", s, sum[s] / n[s]
            best = sum["nginx"] / n["nginx"]
            if (("haproxy" in sum) && sum["haproxy"] / n["haproxy"] < best) best = sum["haproxy"] / n["haproxy"]
            printf "  | proxy/nginx %.2f, proxy/better %.2f\n", sum["proxy"] / n["proxy"] / (sum["nginx"] / n["nginx"]), sum["proxy"] / n["proxy"] / best
        }' "$dir/result"
done
grep -h -E "Non-2xx|Socket errors" "$dir/wrk.log" | sort | uniq -c || true
