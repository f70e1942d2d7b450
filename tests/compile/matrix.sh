#!/usr/bin/env bash
# The header and its tests in many builds: compilers, languages, optimisation, sanitizers, valgrind,
# 32 bits, big endian. `make matrix` runs it from the folder tests; alone it takes parts' names:
#
#     compile/matrix.sh               everything, JOBS parts at a time (2)
#     compile/matrix.sh compile       the small programs beside this file
#     compile/matrix.sh gcc           the programs of `make check`, in this build
#
# Where a case takes long, loops that try everything take each n-th of their cases (TEST_SAMPLE, see
# test.h): what all builds have in common is tried whole in gcc, clang, sanitize and m32. What is
# sampled is what only this build can find, and that is in every kind of case: memory that was never
# written (memory, valgrind), memory that is lost (valgrind), bytes in the other order (big-endian).
#
# A tool that is missing is a failure, and what to install is printed first. Prints a line for each
# failure and each part, and at the end "N passed, N failed". What the parts print in full is kept
# in build/matrix.
set -u
cd "$(dirname "$0")/.." || exit 1
unset MAKEFLAGS MAKELEVEL MFLAGS

JOBS=${JOBS:-2}
BUILD=build/matrix
PARTS='gcc sanitize clang memory compile big-endian m32 musl' # the longest first
WARNINGS='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Werror'
C_WARNINGS='-Wstrict-prototypes -Wmissing-prototypes'
BEARSSL='-DMTWS_BEARSSL -Wl,--no-as-needed -lbearssl' # before the file that needs it
passed=0
failed=0
# For one program. In the foreground, so that what ends this script ends the program.
LIMIT='timeout --foreground 1200'

fail() {
    failed=$((failed + 1))
    echo "FAILED  $1"
}

# ---- cases --------------------------------------------------------------------------------------

# NAME COMMAND...: one test, passed if the command succeeds.
succeeds() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
    else
        fail "$name"
        printf '        %s\n' "$*" "$(printf '%s\n' "$output" | head -n 20)"
    fi
}

# NAME TEXT COMMAND...: passed if the command fails, with TEXT in its first error.
refuses() {
    local name=$1 text=$2 output
    shift 2
    if output=$("$@" 2>&1); then
        fail "$name: it was not refused"
    elif ! printf '%s\n' "$output" | grep error | head -n 1 | grep -q -e "$text"; then
        fail "$name: the first error is not about $text"
    else
        passed=$((passed + 1))
    fi
}

# A compiler with the standard that its options name; -x says the language of a .c file.
compiler() {
    case $1 in
    *++) echo "$1 $WARNINGS -x c++" ;;
    *) echo "$1 $WARNINGS $C_WARNINGS -x c" ;;
    esac
}

# ---- tools --------------------------------------------------------------------------------------

missing=

# COMMAND PACKAGE: notes the package of a command that is not there.
need() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

check_tools() {
    need gcc gcc
    need g++ g++
    need clang clang
    need clang++ clang
    need musl-gcc musl-tools
    need valgrind valgrind
    need nm binutils
    need i686-linux-gnu-gcc 'gcc-i686-linux-gnu libc6-dev-i386-cross'
    need s390x-linux-gnu-gcc 'gcc-s390x-linux-gnu libc6-dev-s390x-cross'
    runs_32_bits || need qemu-i386 qemu-user
    need qemu-s390x qemu-user
    echo 'int main(void) { return 0; }' >"$BUILD/empty.c"
    echo '#include <bearssl.h>' | gcc -E -o /dev/null - 2>/dev/null ||
        missing="$missing libbearssl-dev"
    clang -fsanitize=memory -o "$BUILD/empty" "$BUILD/empty.c" 2>/dev/null ||
        missing="$missing libclang-rt-$(clang -dumpversion 2>/dev/null | sed 's/\..*//')-dev"
    [ -z "$missing" ] && return
    fail "tools are missing: $missing"
    echo "        on Debian: apt-get install$missing"
}

# ---- the programs of this folder ----------------------------------------------------------------

server_pid=

start_server() {
    gcc -O1 -o "$BUILD/chaos_server" ../examples/chaos_server.c || return 1
    "$BUILD/chaos_server" --port 0 --quiet --lifetime 3600 >"$BUILD/server.log" &
    server_pid=$!
    for _ in $(seq 100); do
        url=$(sed -n 's|^listening on |ws://|p' "$BUILD/server.log")
        [ -n "$url" ] && return 0
        sleep 0.1
    done
    return 1
}

stop_server() {
    [ -z "$server_pid" ] || kill "$server_pid" 2>/dev/null
}

# COMPILER OPTIONS: life.c with the implementation inside.
life() {
    local program="$BUILD/life"
    # The options are words, and are meant to be split here and below.
    # shellcheck disable=SC2046,SC2086
    succeeds "build: life, $1 $2" \
        $(compiler "$1") $2 -DMTWS_IMPLEMENTATION compile/life.c -o "$program"
    succeeds "run: life, $1 $2" timeout 60 "$program" "$url"
    rm -f "$program"
}

# COMPILER OF THE IMPLEMENTATION, COMPILER OF THE PROGRAM: two files linked together.
# shellcheck disable=SC2046
linked() {
    local program="$BUILD/linked"
    succeeds "build: implementation, $1" \
        $(compiler "$1") "$3" -c compile/implementation.c -o "$program.implementation.o"
    succeeds "build: user, $2" $(compiler "$2") "$4" -c compile/life.c -o "$program.life.o"
    succeeds "link: $1 with $2" g++ "$program.implementation.o" "$program.life.o" -o "$program"
    succeeds "run: $1 with $2" timeout 60 "$program" "$url"
    rm -f "$program" "$program".*
}

# NAME COMPILER OPTIONS FILE...: a program without arguments.
# shellcheck disable=SC2046,SC2086
program() {
    local name="$1, $2 $3" options=$3 program="$BUILD/program" cc
    cc=$(compiler "$2")
    shift 3
    succeeds "build: $name" $cc $options "$@" -o "$program"
    succeeds "run: $name" timeout 60 "$program"
    rm -f "$program"
}

# life.c names every public function, so each is declared, defined and of its documented type.
every_function_is_named() {
    local name missing=''
    for name in $(public_functions); do
        grep -q "[^a-z_]${name}[,;]" compile/life.c || missing="$missing $name"
    done
    echo "it lacks$missing"
    [ -z "$missing" ]
}

# The names that the header declares before its implementation.
public_functions() {
    sed -n '/^#define MTWS_H_INCLUDED/,/MTWS_H_INCLUDED \*\/$/p' ../mtws.h |
        sed -n 's/^MTWS_API [^(]*[ *]\(mtws_[a-z0-9_]*\) *(.*/\1/p' | sort
}

# OPTIONS...: the object file has the public functions, no other name that a linker sees, and no
# variable.
# shellcheck disable=SC2046
only_public_symbols() {
    local object="$BUILD/symbols.o"
    $(compiler gcc) -std=c99 -O0 -fno-pic "$@" -c compile/implementation.c -o "$object" || return 1
    nm "$object" | awk 'NF == 3 && $2 ~ /^[BbCDd]$/' >"$object.variables"
    [ ! -s "$object.variables" ] || { cat "$object.variables"; return 1; }
    diff <(nm --defined-only --extern-only "$object" | awk '{ print $3 }' | sort) \
        <(public_functions) || return 1
    [ -n "$(public_functions)" ]
}

compile_c() {
    local cc=$1 limits
    life "$cc" '-std=c99 -O0'
    life "$cc" '-std=c99 -O2 -DNDEBUG'
    life "$cc" '-std=gnu99 -O3 -D_GNU_SOURCE'
    life "$cc" '-std=c11 -Os -funsigned-char'
    life "$cc" '-std=c99 -O2 -D_POSIX_C_SOURCE=200809L -D_FILE_OFFSET_BITS=64'
    life "$cc" "-std=c99 -O2 $BEARSSL"
    program 'memory' "$cc" "-std=c99 -O1 $BEARSSL" compile/sizes.c
    program 'two static implementations' "$cc" '-std=c99' compile/static_a.c compile/static_b.c
    program 'included twice' "$cc" '-std=c99' compile/twice.c
    program 'static, declared alone' "$cc" '-std=c99 -DMTWS_STATIC' compile/declared.c
    # shellcheck disable=SC2046
    refuses "static, but late, $cc" 'MTWS_IMPLEMENTATION where this file first' \
        $(compiler "$cc") -std=gnu99 -DMTWS_STATIC -c compile/late.c -o "$BUILD/late.o"
    # shellcheck disable=SC2046
    refuses "MTWS_MALLOC without MTWS_FREE, $cc" 'both MTWS_MALLOC and MTWS_FREE' \
        $(compiler "$cc") -std=c99 '-DMTWS_MALLOC(x)=malloc(x)' -c compile/implementation.c \
        -o "$BUILD/half.o"
    program 'own macros' "$cc" '-std=c99' compile/custom.c
    program 'own macros' "$cc" '-std=c99 -O2 -DNDEBUG' compile/custom.c
    for limits in '' \
        '-DMTWS_REQUEST_MAX=1024 -DMTWS_ANSWER_MAX=2048 -DMTWS_FIRST_MAX=256 -DMTWS_PART_MAX=512
            -DMTWS_PROXY_MAX=64' \
        '-DMTWS_REQUEST_MAX=65536 -DMTWS_ANSWER_MAX=131072 -DMTWS_PROXY_MAX=4096
            -DMTWS_MESSAGE_ROOM=1024' \
        '-DMTWS_FIRST_MAX=65536 -DMTWS_PART_MAX=1000000 -DMTWS_MESSAGE_ROOM=16'; do
        program 'memory' "$cc" "-std=c99 -O1 $limits" compile/sizes.c
    done
    # shellcheck disable=SC2046
    refuses "late, $cc -std=c99" '_DEFAULT_SOURCE' $(compiler "$cc") -std=c99 -c compile/late.c \
        -o "$BUILD/late.o"
    program 'late' "$cc" '-std=c99 -D_DEFAULT_SOURCE' compile/late.c
    program 'late' "$cc" '-std=gnu99' compile/late.c
    life "$cc" '-std=c99 -O1 -include compile/other_system.h'
}

compile_cxx() {
    local cxx=$1
    life "$cxx" '-std=c++11 -O0'
    life "$cxx" '-std=c++11 -O2 -fno-exceptions -fno-rtti'
    life "$cxx" '-std=c++17 -Os -DNDEBUG'
    life "$cxx" '-std=c++20 -O3 -funsigned-char'
    life "$cxx" "-std=c++11 -O2 $BEARSSL"
    program 'two static implementations' "$cxx" '-std=c++11' compile/static_a.c compile/static_b.c
    program 'included twice' "$cxx" '-std=c++11' compile/twice.c
    program 'static, declared alone' "$cxx" '-std=c++11 -DMTWS_STATIC' compile/declared.c
    program 'late' "$cxx" '-std=c++11' compile/late.c
    program 'memory' "$cxx" '-std=c++11' compile/sizes.c
}

part_compile() {
    if ! start_server; then
        fail 'examples/chaos_server did not start'
        return
    fi
    succeeds 'life.c names every public function' every_function_is_named
    succeeds 'symbols' only_public_symbols
    succeeds 'symbols with BearSSL' only_public_symbols -DMTWS_BEARSSL
    for cc in gcc clang; do compile_c $cc; done
    for cxx in g++ clang++; do compile_cxx $cxx; done
    linked gcc gcc -std=c99 -std=c99
    linked clang gcc -std=c99 -std=c99
    linked gcc g++ -std=c99 -std=c++11
    linked g++ clang -std=c++11 -std=c99
    life gcc '-std=c99 -O2 -flto'
    life musl-gcc '-std=c99 -O2' # another libc, and without the kernel's headers
    stop_server
}

# ---- the programs of make check -----------------------------------------------------------------

# NAME ARGUMENTS...: make check with these, and its counts.
check() {
    local name=$1 log status=0 line
    log="$BUILD/$1${TEST_SAMPLE:+-sampled}.log"
    shift
    make --no-print-directory check "BUILD=$BUILD/$name" "$@" >"$log" 2>&1 || status=$?
    count "$log"
    if [ -z "$line" ] || { [ $status -ne 0 ] && [ "${line##* }" = 0 ]; }; then
        fail "make check for $name ended with status $status; the end of $log:"
        tail -n 20 "$log"
    elif [ "${line##* }" != 0 ]; then
        grep -e FAILED -e 'ended with status' -e ': error' -e ':[0-9]*: \[' "$log" | head -n 40
    fi
}

# Adds the counts of a log's last summary line, which is left in line as two numbers.
count() {
    line=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$1" | tail -n 1)
    passed=$((passed + ${line%% *} + 0))
    failed=$((failed + ${line##* } + 0))
}

# NAME EXCEPT: the programs of make check in this build, but those whose path matches EXCEPT.
programs() {
    grep -l '^int main' unit/*.c session/*.c | grep -v -E "$2" |
        sed "s|^|$BUILD/$1/|; s|\.c\$||" | tr '\n' ' '
}

# Valgrind has programs without assertions, and with all that an optimiser does, as users have them.
part_gcc() {
    local build=(CC=gcc WERROR=1 CFLAGS='-Os -g -funsigned-char -DNDEBUG')
    check gcc "${build[@]}"
    export TEST_SAMPLE=101
    check gcc "${build[@]}" "RUN=$LIMIT valgrind --quiet --leak-check=full --error-exitcode=99"
}
part_clang() { check clang CC=clang WERROR=1 CFLAGS='-O2'; }
# Sanitizers make gcc warn of what is not there, so here warnings are no errors; and they take their
# time to compile, so little is optimised.
part_sanitize() {
    local sanitizers='-fsanitize=address,undefined -fno-sanitize-recover=all'
    check sanitize CC=gcc "CFLAGS=-Og -g1 -fno-omit-frame-pointer $sanitizers"
}
part_memory() {
    export TEST_SAMPLE=31
    check memory CC=clang CFLAGS='-O0 -g1 -fsanitize=memory'
}
# Another libc, where the rooms that call it are: those that are pure do not see which it is.
part_musl() {
    check musl CC=musl-gcc WERROR=1 \
        "PROGRAMS=$(printf "$BUILD/musl/%s " unit/platform unit/net unit/faults session/layers)"
}

# A cross compiler's, because gcc -m32 needs gcc-multilib, which can't be installed beside it. The
# processor runs them where the kernel lets it.
part_m32() {
    if runs_32_bits; then
        check m32 CC=i686-linux-gnu-gcc WERROR=1 "LDFLAGS=$OWN_LIBC"
    else
        emulated m32 i686-linux-gnu qemu-i386
    fi
}
OWN_LIBC=/usr/i686-linux-gnu/lib
OWN_LIBC="-Wl,--dynamic-linker=$OWN_LIBC/ld-linux.so.2 -Wl,-rpath,$OWN_LIBC"

# shellcheck disable=SC2086
runs_32_bits() {
    echo 'int main(void) { return 0; }' >"$BUILD/runs.c"
    i686-linux-gnu-gcc $OWN_LIBC -o "$BUILD/runs" "$BUILD/runs.c" && "$BUILD/runs"
} 2>/dev/null

part_big_endian() { emulated big-endian s390x-linux-gnu qemu-s390x; }

# NAME TRIPLET EMULATOR: unit/platform starts other programs, and an emulator hangs there.
emulated() {
    export TEST_SAMPLE=101
    check "$1" "CC=$2-gcc" WERROR=1 "RUN=$LIMIT $3 -L /usr/$2" \
        "PROGRAMS=$(programs "$1" '^unit/platform')"
}

# ---- all ----------------------------------------------------------------------------------------

run_part() {
    case " $PARTS " in
    *" $1 "*) "part_${1//-/_}" ;;
    *) fail "no part is named $1: $PARTS" ;;
    esac
    echo "-- $1: $SECONDS s"
}

# Each part is a run of this file, so that JOBS of them can run at a time.
run_all() {
    local part
    # shellcheck disable=SC2016,SC2086
    printf '%s\n' $PARTS | xargs -P "$JOBS" -I '{}' sh -c '"$0" "$1" >"$2/part-$1.log" 2>&1' \
        compile/matrix.sh '{}' "$BUILD"
    for part in $PARTS; do
        sed '$d' "$BUILD/part-$part.log"
        count "$BUILD/part-$part.log"
        [ -n "$line" ] || fail "$part did not end"
    done
}

main() {
    mkdir -p "$BUILD"
    trap stop_server EXIT
    if [ $# -eq 1 ]; then
        run_part "$1"
    else
        check_tools
        run_all
    fi
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ]
}

main "$@"
