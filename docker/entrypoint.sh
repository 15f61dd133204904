#!/bin/sh
# server (default), ui, or any other sub-command of `dia`; flags follow.
set -eu
command=${1:-server}
[ $# -eq 0 ] || shift
case "$command" in
    server) exec dia serve --host 0.0.0.0 --port 7860 "$@" ;;
    ui) exec dia ui "$@" ;;
    *) exec dia "$command" "$@" ;;
esac
