#!/bin/sh
# A list of shell's own; not a template: ${#list} {% %}
set -eu
echo "hello $GREETING"
