#!/bin/sh
# Makes out/hello.txt, which greets whomever the file `name` names.
set -eu
mkdir -p out
{
    printf 'Hello, %s!\n' "$(cat name)"
    printf 'Built from commit %s by run %s.\n' "${CICD_GIT_COMMIT:-unknown}" "${SIGNALBOX_RUN:-none}"
} > out/hello.txt
cat out/hello.txt
