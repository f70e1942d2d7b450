/* Starts the servers of this folder, reads what they print, and ends them by their process id; and
 * the messages that the tests send where there are many.
 *
 * Include it after mtws.h and test.h. Every wait has a limit, so nothing here can hang.
 */
#ifndef MTWS_SERVERS_H_INCLUDED
#define MTWS_SERVERS_H_INCLUDED

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

enum { SERVER_LINE_MAX = 1024, SERVER_START_MS = 20000 };

/* What to run. Paths are relative to the folder tests, where `make interop` runs its programs. */
typedef struct server_kind {
    const char *name, *program_variable, *program, *script;
    int stop_code; /* what its connections are closed with at SIGTERM */
} server_kind;

static const server_kind server_kinds[] = {
    {"python", "PYTHON", "/usr/bin/python3", "interop/server.py", 1001},
    {"ws", "NODE", "node", "interop/server.js", 1012},
};
enum { SERVER_KINDS = sizeof server_kinds / sizeof server_kinds[0] };

typedef struct server {
    const server_kind *kind;
    pid_t pid;  /* 0: not running */
    int output; /* what it prints; -1: closed */
    int port;
    char text[8 * SERVER_LINE_MAX]; /* printed and not yet asked for */
    size_t size;
} server;

/* A text that begins with its number; the number says the rest of it, and its size. */
enum { NUMBERED_MAX = 160 };

static size_t numbered(char out[NUMBERED_MAX], unsigned number) {
    int size = snprintf(out, NUMBERED_MAX, "%u ", number);
    memset(out + size, 'a' + (int)(number % 26), number % 100);
    return (size_t)size + number % 100;
}

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A socket on the loopback, bound to this port, where 0 takes any; -1: it is not free. */
static int bound_socket(int port) {
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

/* A port that nobody takes before its server listens and while it is away: it lies below those that
 * the system gives to whoever asks for any. */
TEST_UNUSED static int free_port(void) {
    static unsigned next;
    if (next == 0) next = (unsigned)getpid() * 37;
    for (int i = 0; i < 1000; i++) {
        int port = 20000 + (int)(next++ % 12000), fd = bound_socket(port);
        if (fd < 0) continue;
        close(fd);
        return port;
    }
    FAIL("no port is free");
    return 0;
}

/* Waits at most so long for more output; false: there was none. */
static bool server_read(server *s, int timeout_ms) {
    struct pollfd readable = {s->output, POLLIN, 0};
    if (s->size == sizeof s->text || poll(&readable, 1, timeout_ms) <= 0) return false;
    ssize_t got = read(s->output, s->text + s->size, sizeof s->text - s->size);
    if (got > 0) s->size += (size_t)got;
    return got > 0;
}

/* The next line that begins with prefix, less the prefix; lines before it are thrown away. */
static bool server_line(server *s, const char *prefix, char out[SERVER_LINE_MAX], int timeout_ms) {
    uint64_t until = now_ms() + (uint64_t)timeout_ms;
    for (;;) {
        char *end = memchr(s->text, '\n', s->size);
        if (end == NULL) {
            uint64_t now = now_ms();
            if (now >= until || !server_read(s, (int)(until - now))) return false;
            continue;
        }
        size_t size = (size_t)(end - s->text), skip = strlen(prefix);
        bool found =
            size >= skip && size - skip < SERVER_LINE_MAX && memcmp(s->text, prefix, skip) == 0;
        if (found) {
            memcpy(out, s->text + skip, size - skip);
            out[size - skip] = '\0';
        }
        s->size -= size + 1;
        memmove(s->text, end + 1, s->size);
        if (found) return true;
    }
}

/* The child's part: never returns. Its parent's death ends it where the system can tell. */
static void server_run(const server_kind *kind, int output, int port, const char *ledger) {
    char port_text[16];
    const char *program = getenv(kind->program_variable);
    snprintf(port_text, sizeof port_text, "%d", port);
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    dup2(output, STDOUT_FILENO);
    if (program == NULL || *program == '\0') program = kind->program;
    execlp(program, program, kind->script, port_text, ledger, (char *)NULL);
    fprintf(stderr, "%s: %s\n", program, strerror(errno));
    _exit(127);
}

/* Starts a server, and does not wait for it; port 0 takes a free one, ledger may be NULL. */
static bool server_spawn(server *s, const server_kind *kind, int port, const char *ledger) {
    int ends[2];
    memset(s, 0, sizeof *s);
    s->kind = kind;
    s->output = -1;
    if (pipe(ends) != 0) return FAIL("pipe: %s", strerror(errno));
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    fflush(stdout);
    s->pid = fork();
    if (s->pid == 0) server_run(kind, ends[1], port, ledger);
    close(ends[1]);
    s->output = ends[0];
    return s->pid > 0 || FAIL("fork: %s", strerror(errno));
}

/* Starts a server that is ready when this returns. */
static bool server_start(server *s, const server_kind *kind, int port, const char *ledger) {
    char line[SERVER_LINE_MAX];
    if (!server_spawn(s, kind, port, ledger)) return false;
    if (!server_line(s, "port ", line, SERVER_START_MS)) {
        return FAIL("the %s server did not start", kind->name);
    }
    s->port = atoi(line);
    return true;
}

/* Sends the signal and waits until the server is gone; one that does not go is killed. */
static void server_end(server *s, int number) {
    int status;
    if (s->output >= 0) close(s->output);
    s->output = -1;
    if (s->pid <= 0) return;
    kill(s->pid, number);
    for (int i = 0; i < 500 && waitpid(s->pid, &status, WNOHANG) == 0; i++) {
        struct timespec pause = {0, 10000000};
        if (i == 300) kill(s->pid, SIGKILL);
        nanosleep(&pause, NULL);
    }
    s->pid = 0;
}

#endif
