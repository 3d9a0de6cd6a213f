# An upstream and a gateway before it, for scripts; to be sourced. All that was started ends with
# the script.
#
# `start_upstream PROGRAM PORT` and `start_proxy DIRECTORY NAME=VALUE...` set up what templates name
# as tests/h2attack/README.md tells; `address NAME` is what a name stands for.

scene=$(mktemp -d)
declare -A values=([directory]=$scene [workers]=1)
started=()

end_scene() {
    local id turn
    for id in "${started[@]}"; do kill "$id" 2>/dev/null; done
    for turn in $(seq 100); do
        kill -0 "${started[@]}" 2>/dev/null || break
        sleep 0.05
    done
    for id in "${started[@]}"; do kill -KILL "$id" 2>/dev/null; done
    rm -rf "$scene"
}
trap end_scene EXIT
trap 'exit 130' INT TERM HUP

address() { echo "${values[$1]}"; }

set_address() {
    values[$1]=127.0.0.1:$2
    values[$1_port]=$2
}

# Ports at which nobody listens. They are below those that the system gives to clients.
free_ports() {
    local port found=0
    for port in $(shuf -i 20000-32000 -n 200); do
        is_open "127.0.0.1:$port" && continue
        echo "$port"
        found=$((found + 1))
        [ "$found" = "$1" ] && return
    done
    return 1
}

is_open() { (exec 3<>"/dev/tcp/${1%:*}/${1#*:}") 2>/dev/null; }

# Waits until something listens, as long as the process lives: wait_open ADDRESS PROCESS
wait_open() {
    local turn
    for turn in $(seq 300); do
        is_open "$1" && return
        kill -0 "$2" 2>/dev/null || break
        sleep 0.05
    done
    echo "nothing listens at $1" >&2
    return 1
}

# `{name}` in the text of standard input becomes what the name stands for.
render() {
    local text name
    text=$(cat)
    for name in "${!values[@]}"; do text=${text//"{$name}"/${values[$name]}}; done
    printf '%s\n' "$text"
}

# Starts what listens at the address of a name: start NAME COMMAND...
start() {
    local name=$1
    shift
    "$@" >"$scene/$name.log" 2>&1 </dev/null &
    started+=($!)
    wait_open "$(address "$name")" $! || { cat "$scene/$name.log" >&2; return 1; }
}

# One upstream for both protocols, at a port or, if that is empty, at one that is free. Its input
# stays open as long as this script lives, and it ends when that ends.
start_upstream() {
    local program=$1 port=${2:-} input
    [ -n "$port" ] || port=$(free_ports 1) || return 1
    set_address upstream_http "$port"
    set_address upstream_h2 "$port"
    mkfifo "$scene/input"
    exec {input}<>"$scene/input"
    start upstream_http sh -c "exec '$program' $(address upstream_http) <'$scene/input'"
}

start_proxy() {
    local directory=$1 name pair file port
    shift
    for pair in "$@"; do values[${pair%%=*}]=${pair#*=}; done
    for name in h2 http grpc admin; do
        [ -n "${values[$name]:-}" ] && continue
        port=$(free_ports 1) || return 1
        set_address "$name" "$port"
    done
    for file in "$directory"/*; do render <"$file" >"$scene/${file##*/}"; done
    start h2 sh "$scene/start"
}
