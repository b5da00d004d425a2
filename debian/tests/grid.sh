# Read by the tests beside it: a server on the loopback, and how to wait for what it does.
set -eu
export HOME="$AUTOPKGTEST_TMP"
export XWHEP_SERVER_STATE="$AUTOPKGTEST_TMP/server" XWHEP_SERVER_LISTEN=127.0.0.1:4321 XWHEP_SERVER_NAME=localhost
chmod 755 "$AUTOPKGTEST_TMP"
started=''
trap 'for one in $started; do kill "$one" 2>/dev/null || :; done' EXIT

fail() {
    echo "$*" >&2
    exit 1
}

as() { # USER COMMAND...
    (become "$@")
}

become() { # USER COMMAND...: takes the place of the shell, so that its number is the command's
    user=$1
    shift
    exec setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"
}

within() { # SECONDS COMMAND...: try until it succeeds
    deadline=$(($(date +%s) + $1))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt "$deadline" ] || fail "not in time: $*"
        sleep 0.1
    done
}

answers() {
    python3 -I -c "
import http.client, ssl
call = http.client.HTTPSConnection('127.0.0.1', 4321, timeout=4, context=ssl._create_unverified_context())
call.request('GET', '/healthz')
raise SystemExit(call.getresponse().status != 200)" 2>/dev/null
}

start_server() {
    install -d -o xwhep-server -g xwhep-server -m 700 "$XWHEP_SERVER_STATE"
    become xwhep-server xwhep-server run &
    server=$!
    started="$started $server"
    within 30 answers
}

stop() { # PID: it ends when it is told to, and calls that no failure
    kill -TERM "$1"
    wait "$1" || fail "status $? after SIGTERM"
}
