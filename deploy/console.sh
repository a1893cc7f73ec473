# shellcheck shell=bash
# How the scripts of this folder speak and how they run long steps. Sourced, never executed.
#
# Everything said here goes to standard error, so that standard output stays a command's own.
# Colours and the running clock appear only where standard error is a terminal; NO_COLOR
# (https://no-color.org) turns the colours off. Whatever a script starts ends with it: each job runs
# in a process group of its own, which is ended on Ctrl-C, on a signal and at exit.

bold='' dim='' red='' green='' plain=''
if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
fi

say() { printf '%s\n' "$*" >&2; }
heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain" >&2; }
warn() { printf '%swarning:%s %s\n' "$red" "$plain" "$*" >&2; }

# fail CODE TEXT: says what is wrong and what to do, then ends the script with that code.
fail() {
    printf '%serror:%s %s\n' "$red" "$plain" "$2" >&2
    exit "$1"
}

# help_if_asked ARGUMENT...: prints the script's `usage` and ends it when an argument asks for that.
help_if_asked() {
    local argument
    for argument in "$@"; do
        case $argument in -h | --help | help)
            usage
            exit
            ;;
        esac
    done
}

# duration SECONDS: "7 s" or "12 min 03 s".
duration() {
    if [ "$1" -lt 60 ]; then
        printf '%d s' "$1"
    else
        printf '%d min %02d s' $(($1 / 60)) $(($1 % 60))
    fi
}

job=''

end_job() {
    [ -n "$job" ] || return 0
    kill -TERM -- "-$job" 2>/dev/null || true
    local tenth
    for ((tenth = 0; tenth < 100; tenth++)); do
        kill -0 -- "-$job" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$job" 2>/dev/null || true
    job=''
}

trap end_job EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# start_job COMMAND...: sets `job` to its process id, which is also that of its process group.
start_job() {
    set -m
    "$@" </dev/null &
    job=$!
    set +m
}

# finish_job: the exit status of the job.
finish_job() {
    local status=0
    wait "$job" || status=$?
    job=''
    return "$status"
}

# run COMMAND...: runs a job whose output is worth reading.
run() {
    start_job "$@"
    finish_job
}

# run_quietly LABEL COMMAND...: runs a long job and shows the time it has taken; its output is shown
# only when it fails.
run_quietly() {
    local label=$1 started=$SECONDS status=0 log
    shift
    log=$(mktemp)
    start_job "$@" >"$log" 2>&1
    show_clock "$label" "$started"
    finish_job || status=$?
    if [ "$status" -eq 0 ]; then
        say "${green}done${plain}  $label ${dim}($(duration $((SECONDS - started))))${plain}"
    else
        say "${red}FAILED${plain}  $label; the end of its output:"
        tail -n 40 "$log" | sed 's/^/    /' >&2
    fi
    rm -f "$log"
    return "$status"
}

# On a terminal one line that counts the seconds, elsewhere one line every 30 seconds.
show_clock() {
    local label=$1 started=$2 shown=0 elapsed
    [ -t 2 ] || say "      $label ..."
    while kill -0 "$job" 2>/dev/null; do
        elapsed=$((SECONDS - started))
        if [ -t 2 ]; then
            printf '\r      %s %s(%s)%s' "$label" "$dim" "$(duration "$elapsed")" "$plain" >&2
        elif [ "$elapsed" -ge $((shown + 30)) ]; then
            shown=$elapsed
            say "      $label ... $(duration "$elapsed")"
        fi
        sleep 0.2
    done
    [ ! -t 2 ] || printf '\r\e[K' >&2
}
