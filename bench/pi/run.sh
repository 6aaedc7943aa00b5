#!/bin/sh
# Measures Bramble, etcd and SQLite on the card that a folder lies on:
#
#   sudo ./run.sh /path/on/the/card            about four hours
#   sudo ./run.sh /path/on/the/card --quick    a minute, to see that everything works
#
# The report comes into a folder beside this file. `bin/pi --help` tells what else can be said.
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -eq 0 ]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0"
  exit 2
fi
[ "$(uname -m)" = aarch64 ] || { echo "this is for aarch64, and the machine is $(uname -m): a 64-bit system is needed"; exit 1; }
[ "$(id -u)" = 0 ] || echo "not root: who else writes cannot be seen, and the run will not count"
exec "$here/bin/pi" --report "$here/report-$(date +%Y%m%d-%H%M%S)" "$@"
