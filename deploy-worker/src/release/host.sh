# What the deployment worker runs on a host, whole, once for each step. It is given to `sh -c`; its arguments come after.
# It needs a POSIX shell, cat, chmod, ln, mkdir, mv, rm, readlink, sha256sum, sync, and flock where there is one.
#
# In the root: NAME -> .signalbox/releases/NAME/SEQ-DIGEST/NAME, and nothing else of ours that is visible.
# In .signalbox/releases/NAME: the folders SEQ-DIGEST with the file and its manifest; `activations`, one line for each
# thing that was asked for or done, in order; `lock`; and uploads that are not finished, `.staging-SEQ-NONCE`.
# Lines of `activations`: WORD SEQ DIGEST RUN TIME ARTIFACT. `asked`: about to be switched to. `shown`: switched to.
# `same`: asked for while it was shown already. The highest SEQ there is the one below which nothing is done any more.
#
# It answers in lines, the last one of which begins with `end`.
set -u
LC_ALL=C
export LC_ALL
PATH="${PATH:-/usr/bin:/bin}:/usr/local/bin:/usr/bin:/bin"
umask 022
unset IFS
mode=$1 root=$2 name=$3 seq=$4 digest=$5 run=$6 time=$7 artifact=$8 keep=$9
shift 9
bits=$1 nonce=$2 patience=$3

stage='' held='' torn='' base="releases/$name"

leave() {
    [ -z "$stage" ] || rm -rf -- "$stage"
    [ -z "$held" ] || rm -rf -- "$held"
}
trap leave EXIT
trap 'exit 1' HUP INT TERM PIPE

say() { printf '%s\n' "$1"; }

finish() {
    say "end $1"
    exit 0
}

# At most 18 digits: the shell counts in 64 bits.
is_number() {
    case $1 in '' | *[!0-9]* | ???????????????????*) return 1 ;; esac
}

is_digest() {
    [ ${#1} -eq 64 ] || return 1
    case $1 in *[!0-9a-f]*) return 1 ;; esac
}

# Whether a folder of releases/NAME is a whole release.
is_release() {
    is_digest "${1##*-}" && is_number "${1%%-*}" && [ "${1%%-*}-${1##*-}" = "$1" ] &&
        [ -d "$base/$1" ] && [ ! -L "$base/$1" ] && [ -f "$base/$1/$name" ] && [ ! -L "$base/$1/$name" ] &&
        [ -f "$base/$1/manifest" ]
}

# Whether the bytes of a release are what its name says.
is_sound() {
    found=$(sha256sum <"$base/$1/$name") || return 1
    [ "${found%% *}" = "${1##*-}" ]
}

# A folder that must be a real one and ours.
own() {
    if [ ! -e "$1" ] && [ ! -L "$1" ]; then
        [ "$mode" = upload ] || return 1
        # Another one may make it at the same moment.
        mkdir -p -- "$1" || finish 'failed write'
        made=yes
    fi
    [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] || finish "failed not-ours $1"
}

# Goes into ROOT/.signalbox. From here on every path is relative to a folder that is held open as the working folder, so
# that a root which is swapped in the meantime changes nothing.
enter() {
    [ ! -L "$root" ] || finish 'failed root-is-link'
    [ -d "$root" ] && cd -P -- "$root" || finish 'failed no-root'
    if [ "$mode" != state ] && [ "$mode" != check ]; then
        [ -w . ] || finish 'failed root-not-writable'
    fi
    made=''
    own .signalbox || return 1
    cd -P -- .signalbox && [ .. -ef "$root" ] && [ -O . ] || finish 'failed not-ours .signalbox'
    own releases || return 1
}

# Reads what was asked for and shown: `high` and what was asked with it, and `order`, newest first, of what was shown.
recall() {
    high=0 high_word='' high_digest='' high_run='' order='' shown=0 lines=0
    [ -f "$base/activations" ] && [ ! -L "$base/activations" ] || return 0
    while read -r word number which rest; do
        lines=$((lines + 1))
        is_number "$number" && is_digest "$which" || continue
        case $word in
            asked | same)
                if [ "$number" -ge "$high" ]; then
                    high=$number high_word=$word high_digest=$which high_run=${rest%% *}
                fi
                ;;
            shown)
                shown=$number
                promote "$number:$which"
                ;;
        esac
    done <"$base/activations"
    # A power cut can leave half a line; the next one must not be written onto it.
    [ -z "$word" ] || torn=yes
}

# Puts a digest to the front of `order`.
promote() {
    before=$order order=$1
    for one in $before; do
        [ "${one#*:}" = "${1#*:}" ] || order="$order $one"
    done
}

# Which release the link shows: `now`, empty if none.
look() {
    now=''
    if [ -L "../$name" ]; then
        for folder in "$base"/*-*/; do
            folder=${folder%/}
            folder=${folder##*/}
            if is_release "$folder" && [ "../$name" -ef "$base/$folder/$name" ]; then
                now=$folder
                return 0
            fi
        done
        case $(readlink -- "../$name") in
            ".signalbox/releases/$name/"*) ;;
            *) finish 'failed name-taken' ;;
        esac
    elif [ -e "../$name" ]; then
        finish 'failed name-taken'
    fi
}

# One at a time for each name. The lock of flock goes with this process, however it ends.
lock() {
    if command -v flock >/dev/null 2>&1; then
        if { :; } 9>>"$base/lock"; then exec 9>>"$base/lock"; else finish 'failed write'; fi
        flock -w "$patience" 9 || finish 'failed locked'
        return 0
    fi
    waited=0
    until mkdir "$base/lock.d" 2>/dev/null; do
        holder=''
        [ ! -f "$base/lock.d/holder" ] || read -r holder <"$base/lock.d/holder" || :
        if { [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; } || { [ -z "$holder" ] && [ "$waited" -ge 5 ]; }; then
            # Its holder is dead. Only one of those who see that can move it away.
            mv -T "$base/lock.d" "$base/.staging-0-$nonce.lock" 2>/dev/null && rm -rf "$base/.staging-0-$nonce.lock"
            continue
        fi
        [ "$waited" -lt "$patience" ] || finish 'failed locked'
        waited=$((waited + 1))
        sleep 1
    done
    held="$base/lock.d"
    say $$ >"$base/lock.d/holder" || finish 'failed write'
}

record() {
    {
        [ -z "$torn" ] || say ''
        say "$1 $seq $digest $run $time $artifact"
    } >>"$base/activations" || return 1
    torn=''
}

# Reads the bytes, and proves them here, before anything else is touched.
receive() {
    stage="$base/.staging-$seq-$nonce"
    mkdir -- "$stage" || finish 'failed write'
    cat >"$stage/$name" || finish 'failed write'
    found=$(sha256sum <"$stage/$name") || finish 'failed read'
    [ "${found%% *}" = "$digest" ] || finish "failed digest ${found%% *}"
    [ "$bits" = 0644 ] || chmod -- "$bits" "$stage/$name" || finish 'failed write'
    say "sequence $seq
digest $digest
run $run
time $time
artifact $artifact" >"$stage/manifest" || finish 'failed write'
    sync "$stage/$name" "$stage/manifest" "$stage" || finish 'failed sync'
}

# Makes what was received a release.
place() {
    release="$seq-$digest"
    if [ -e "$base/$release" ]; then
        # The same activation put rotten or unfinished bytes there. The link may show them: each file is replaced at once.
        mv -fT -- "$stage/$name" "$base/$release/$name" && mv -fT -- "$stage/manifest" "$base/$release/manifest" &&
            sync "$base/$release" || finish 'failed write'
    else
        mv -T -- "$stage" "$base/$release" || finish 'failed write'
        stage=''
    fi
}

# Removes what is neither shown now nor among the last that were, and what uploads left behind.
prune() {
    kept=0 keepers=''
    for one in $order; do
        which=${one#*:} there=''
        for folder in "$base"/*-"$which"/; do
            folder=${folder%/}
            folder=${folder##*/}
            is_release "$folder" || continue
            # Two releases with the same bytes count once, and the one that is shown is the one that stays.
            if [ -z "$there" ] || [ "$folder" = "$release" ]; then there=$folder; fi
        done
        [ -n "$there" ] && [ "$kept" -lt "$keep" ] || continue
        kept=$((kept + 1))
        keepers="$keepers $there $one"
    done
    set --
    for folder in "$base"/*-*/; do
        folder=${folder%/}
        case " $keepers " in *" ${folder##*/} "*) continue ;; esac
        if is_digest "${folder##*-}" && [ "${folder##*/}" != "$release" ]; then set -- "$@" "$folder"; fi
    done
    for folder in "$base"/.staging-*; do
        number=${folder#"$base/.staging-"}
        number=${number%%-*}
        if is_number "$number" && [ "$number" -le "$seq" ] && [ "$folder" != "$stage" ]; then set -- "$@" "$folder"; fi
    done
    [ $# -eq 0 ] || rm -rf -- "$@"
    [ "$lines" -lt $((keep * 2 + 24)) ] || rewrite
}

# Keeps of `activations` what still means something: the newest line of each kept release, and the highest sequence.
rewrite() {
    while read -r word number which rest; do
        case $word in
            shown) case " $keepers " in *" $number:$which "*) say "$word $number $which $rest" ;; esac ;;
            asked | same) [ "$number" != "$high" ] || say "$word $number $which $rest" ;;
        esac
    done <"$base/activations" >"$base/activations.new" &&
        sync "$base/activations.new" && mv -fT -- "$base/activations.new" "$base/activations"
}

# Decides and acts, under the lock.
settle() {
    recall
    look
    say "shows ${now:--}"
    say "high $high${high_run:+ $high_run}"
    [ "$seq" -ge "$high" ] || finish superseded
    if [ "$seq" -eq "$high" ] && [ "$digest" != "$high_digest" ]; then finish 'failed sequence-reused'; fi
    if [ "${now##*-}" = "$digest" ] && is_sound "$now"; then
        if [ "$seq" -gt "$high" ]; then
            record same && sync "$base/activations" || finish 'failed write'
        elif [ "$high_word" = asked ] && [ "$shown" -lt "$seq" ]; then
            # It was switched, and died before it could write so.
            record shown && sync "$base/activations" || finish 'failed write'
        fi
        finish unchanged
    fi
    release='' rotten=''
    for folder in "$base"/*-"$digest"/; do
        folder=${folder%/}
        folder=${folder##*/}
        is_release "$folder" || continue
        if is_sound "$folder"; then release=$folder; else rotten=yes; fi
    done
    if [ -z "$release" ]; then
        if [ "$mode" = activate ] && [ -n "$rotten" ]; then finish 'failed rotten'; fi
        [ "$mode" = upload ] || finish missing
        place
    fi
    if [ "$seq" -gt "$high" ]; then record asked || finish 'failed write'; fi
    high=$seq high_digest=$digest
    sync "$base" "$base/activations" || finish 'failed sync'
    ln -sfT -- ".signalbox/$base/$release/$name" "../.signalbox-$name" || finish 'failed switch'
    mv -fT -- "../.signalbox-$name" "../$name" || finish 'failed switch'
    # From here on it is switched. A line that cannot be written is written when the host is asked next.
    record shown
    promote "$seq:$digest"
    sync .. "$base/activations" || finish 'failed sync-after'
    prune
    finish switched
}

# What would be activated, and whether it is there and sound.
check() {
    recall
    look
    say "shows ${now:--}"
    say "high $high${high_run:+ $high_run}"
    [ "$seq" -ge "$high" ] || finish superseded
    wanted=$digest
    if [ "$wanted" = - ]; then
        if [ "$seq" -eq "$high" ] && [ "$high" -gt 0 ]; then
            wanted=$high_digest
        else
            for one in $order; do
                if [ "${one#*:}" != "${now##*-}" ]; then
                    wanted=${one#*:}
                    break
                fi
            done
        fi
    fi
    [ "$wanted" != - ] || finish none
    state=absent
    for folder in "$base"/*-"$wanted"/; do
        folder=${folder%/}
        folder=${folder##*/}
        is_release "$folder" || continue
        if is_sound "$folder"; then state=sound; elif [ "$state" = absent ]; then state=rotten; fi
    done
    say "candidate $wanted $state"
    finish checked
}

# What every name shows and keeps.
state() {
    for base in releases/*/; do
        base=${base%/}
        name=${base##*/}
        [ ! -L "$base" ] && [ -d "$base" ] || continue
        now=''
        say "name $name"
        for folder in "$base"/*-*/; do
            folder=${folder%/}
            folder=${folder##*/}
            is_release "$folder" || continue
            say "kept $folder"
            if [ -L "../$name" ] && [ "../$name" -ef "$base/$folder/$name" ]; then say "shows $folder"; fi
        done
        [ -f "$base/activations" ] && [ ! -L "$base/activations" ] || continue
        while read -r word number which rest; do
            case $word in asked | shown) say "$word $number $which $rest" ;; esac
        done <"$base/activations"
    done
    finish state
}

say 'signalbox 1'
for tool in cat chmod ln mkdir mv readlink rm sha256sum sync; do
    command -v "$tool" >/dev/null 2>&1 || finish "failed tool $tool"
done
case $mode in
    state)
        enter || finish state
        state
        ;;
    check)
        enter && own "$base" || finish none
        check
        ;;
    deploy | activate)
        enter && own "$base" || finish missing
        lock
        settle
        ;;
    upload)
        enter && own "$base"
        [ -z "$made" ] || sync .. . releases || finish 'failed sync'
        receive
        lock
        settle
        ;;
esac
