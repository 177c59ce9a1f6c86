#!/usr/bin/env bash
# Tells trunkline that an agent's presence has changed: one event by `trunkline send`.
#
#   presence.sh SOCKET SOURCE_ID USER_ID PRESENCE_DEFINITION_ID [MESSAGE]
#
# Whatever stands in the arguments stays data. They become JSON strings by `json_string`, go to `send` on its
# standard input, and are never part of a command line or of a printf format.
set -euo pipefail

# Prints its argument as a JSON string.
json_string() {
  local text=$1 backslash='\' quote='"'
  text=${text//"$backslash"/"$backslash$backslash"}
  text=${text//"$quote"/"$backslash$quote"}
  text=${text//$'\n'/"${backslash}n"}
  text=${text//$'\r'/"${backslash}r"}
  text=${text//$'\t'/"${backslash}t"}
  text=${text//[[:cntrl:]]/ } # what is left of them has no place in a message
  printf '"%s"' "$text"
}

if (($# < 4 || $# > 5)); then
  echo "usage: presence.sh SOCKET SOURCE_ID USER_ID PRESENCE_DEFINITION_ID [MESSAGE]" >&2
  exit 64
fi
socket=$1

# An id of our own: `send` may write the line twice, trunkline takes it once.
event_id=$(</proc/sys/kernel/random/uuid)
now=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)

event="{\"eventId\":$(json_string "$event_id"),\"eventDateTime\":$(json_string "$now")"
event+=",\"sourceId\":$(json_string "$2"),\"userId\":$(json_string "$3")"
event+=",\"presenceDefinitionId\":$(json_string "$4")"
if (($# == 5)); then
  event+=",\"message\":$(json_string "$5")"
fi
event+="}"

# Exit codes are those of `send`: 0 accepted, 1 refused (it says why), 69 not reachable, 77 not allowed.
printf '{"userPresenceEvents":[%s]}\n' "$event" | "${TRUNKLINE:-trunkline}" send --socket "$socket"
