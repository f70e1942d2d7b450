/* Every call to the system counted and made to fail: first the platform room's functions one
 * by one, then a whole client in front of a small server, with each call of its life failing
 * in turn. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* ---- the calls ------------------------------------------------------------------------------- */

/* clang-format off */
typedef enum call {
    CLOCK, RANDOM, SOCKET, OPTION, CONNECT, POLL, ASK, ENDS, RECV, SEND, IOCTL, SHUTDOWN, CLOSE,
    WAKE_OPEN, WRITE, READ, BIND, INTERFACES, RESOLVE, OPEN, STAT, INDEX, MALLOC, NAP, CALLS
} call;
/* clang-format on */

static const char *const call_names[CALLS] = {
    "clock_gettime", "getrandom",      "socket",      "setsockopt",
    "connect",       "poll",           "getsockopt",  "getsockname or getpeername",
    "recv",          "send",           "ioctl",       "shutdown",
    "close",         "eventfd",        "write",       "read",
    "bind",          "getifaddrs",     "getaddrinfo", "open",
    "stat",          "if_nametoindex", "malloc",      "nanosleep"};

enum { FDS = 4096 };

static struct {
    unsigned counts[CALLS];
    call failing;        /* CALLS: none */
    unsigned from, upto; /* the calls of that kind which fail, counted from 1 */
    int error;
    size_t most;  /* bytes that a send or a recv takes at most; 0: any number */
    bool stutter; /* every other send and recv says EAGAIN */
    bool recv_said[FDS], send_said[FDS]; /* the last one said EAGAIN */
    bool open[FDS];                   /* descriptors that the library has opened and not closed */
    unsigned wrong_closes, inherited; /* descriptors opened that exec would leave open */
    int socket_error;                 /* what SO_ERROR says instead; -1: the truth */
    const struct addrinfo *addresses; /* what getaddrinfo gives instead */
    struct ifaddrs *interfaces;       /* what getifaddrs gives instead */
    unsigned lists_freed;
    int send_flags;
    bool ancient;       /* the wall clock says a time before 1970 */
    bool negative;      /* ioctl gives -1 bytes */
    bool takes_nothing; /* send takes 0 bytes */
    bool self;          /* a connection leads to its own end */
    char host[300];     /* that getaddrinfo was asked for last */
} faults;

static void faults_reset(void) {
    bool open[FDS];
    memcpy(open, faults.open, sizeof open);
    memset(&faults, 0, sizeof faults);
    memcpy(faults.open, open, sizeof open);
    faults.failing = CALLS;
    faults.socket_error = -1;
}

/* Makes the calls from number `from` to `upto` fail. */
static void faults_plan(call failing, unsigned from, unsigned upto, int error) {
    faults_reset();
    faults.failing = failing;
    faults.from = from;
    faults.upto = upto;
    faults.error = error;
}

/* Counts a call; true: it is to fail, and errno says why. */
static bool faults_due(call which) {
    unsigned count = ++faults.counts[which];
    if (faults.failing != which || count < faults.from || count > faults.upto) return false;
    errno = faults.error;
    return true;
}

/* True for every other call of one kind on one descriptor, where that is asked for. */
static bool faults_stutter(bool *said) {
    *said = faults.stutter && !*said;
    if (*said) errno = EAGAIN;
    return *said;
}

static int faults_opened(int fd) {
    if (fd >= 0 && fd < FDS) faults.open[fd] = true;
    if (fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) faults.inherited++;
    return fd;
}

static unsigned faults_open_count(void) {
    unsigned count = 0;
    for (size_t i = 0; i < FDS; i++) count += faults.open[i];
    return count;
}

static int fault_clock_gettime(clockid_t clock, struct timespec *out) {
    if (faults_due(CLOCK)) return -1;
    int result = clock_gettime(clock, out);
    if (faults.ancient && clock == CLOCK_REALTIME) out->tv_sec = -5;
    return result;
}

static ssize_t fault_getrandom(void *out, size_t size, unsigned flags) {
    if (faults_due(RANDOM)) return faults.error == 0 ? (ssize_t)size / 2 : -1;
    return getrandom(out, size, flags);
}

static int fault_socket(int family, int type, int protocol) {
    return faults_due(SOCKET) ? -1 : faults_opened(socket(family, type, protocol));
}

static int fault_setsockopt(int fd, int level, int option, const void *value, socklen_t size) {
    return faults_due(OPTION) ? -1 : setsockopt(fd, level, option, value, size);
}

static int fault_bind(int fd, const struct sockaddr *address, socklen_t size) {
    return faults_due(BIND) ? -1 : bind(fd, address, size);
}

static int fault_connect(int fd, const struct sockaddr *address, socklen_t size) {
    if (faults_due(CONNECT)) {
        /* An interrupted connect goes on in the background. */
        if (faults.error == EINTR && connect(fd, address, size) == 0) errno = EINTR;
        errno = faults.error;
        return -1;
    }
    return connect(fd, address, size);
}

static int fault_poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    return faults_due(POLL) ? -1 : poll(fds, count, timeout_ms);
}

static int fault_getsockopt(int fd, int level, int option, void *value, socklen_t *size) {
    if (faults_due(ASK)) return -1;
    int result = getsockopt(fd, level, option, value, size);
    if (faults.socket_error >= 0) *(int *)value = faults.socket_error;
    return result;
}

static int fault_getsockname(int fd, struct sockaddr *address, socklen_t *size) {
    return faults_due(ENDS) ? -1 : getsockname(fd, address, size);
}

static int fault_getpeername(int fd, struct sockaddr *address, socklen_t *size) {
    if (faults_due(ENDS)) return -1;
    return faults.self ? getsockname(fd, address, size) : getpeername(fd, address, size);
}

/* Whether the descriptor is a socket that keeps messages whole. */
static bool is_datagram(int fd) {
    int type = 0;
    socklen_t size = (socklen_t)sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_DGRAM;
}

static ssize_t fault_recv(int fd, void *out, size_t size, int flags) {
    if (faults_due(RECV)) return -1;
    if (faults_stutter(&faults.recv_said[fd])) return -1;
    if (faults.most > 0 && size > faults.most && !is_datagram(fd)) size = faults.most;
    return recv(fd, out, size, flags);
}

static ssize_t fault_send(int fd, const void *data, size_t size, int flags) {
    faults.send_flags = flags;
    if (faults_due(SEND)) return -1;
    if (faults_stutter(&faults.send_said[fd])) return -1;
    if (faults.takes_nothing) return 0;
    if (faults.most > 0 && size > faults.most && !is_datagram(fd)) size = faults.most;
    return send(fd, data, size, flags);
}

/* A request is an unsigned long to one libc, an int to another. */
static int fault_ioctl(int fd, unsigned long request, int *value) {
    if (faults_due(IOCTL) || request != TIOCOUTQ) return -1;
    if (!faults.negative) return ioctl(fd, TIOCOUTQ, value);
    *value = -1;
    return 0;
}

static int fault_shutdown(int fd, int how) { return faults_due(SHUTDOWN) ? -1 : shutdown(fd, how); }

/* One that fails has closed all the same: closing again could hit somebody else's descriptor. */
static int fault_close(int fd) {
    if (fd < 0 || fd >= FDS || !faults.open[fd]) faults.wrong_closes++;
    else faults.open[fd] = false;
    bool failing = faults_due(CLOSE);
    close(fd);
    if (!failing) return 0;
    errno = faults.error;
    return -1;
}

static int fault_nanosleep(const struct timespec *time, struct timespec *left) {
    return faults_due(NAP) ? -1 : nanosleep(time, left);
}

static int fault_eventfd(unsigned value, int flags) {
    return faults_due(WAKE_OPEN) ? -1 : faults_opened(eventfd(value, flags));
}

static ssize_t fault_write(int fd, const void *data, size_t size) {
    return faults_due(WRITE) ? -1 : write(fd, data, size);
}

static ssize_t fault_read(int fd, void *out, size_t size) {
    return faults_due(READ) ? -1 : read(fd, out, size);
}

static int fault_getifaddrs(struct ifaddrs **out) {
    if (faults_due(INTERFACES)) return -1;
    if (faults.interfaces == NULL) return getifaddrs(out);
    *out = faults.interfaces;
    return 0;
}

static void fault_freeifaddrs(struct ifaddrs *list) {
    faults.lists_freed++;
    if (faults.interfaces == NULL) freeifaddrs(list);
}

static int fault_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                             struct addrinfo **out) {
    if (faults_due(RESOLVE)) return faults.error;
    if (faults.addresses == NULL) return getaddrinfo(host, service, hints, out);
    snprintf(faults.host, sizeof faults.host, "%s", host);
    /* The library only reads the list. */
    memcpy(out, &faults.addresses, sizeof *out);
    return 0;
}

static void fault_freeaddrinfo(struct addrinfo *list) {
    faults.lists_freed++;
    if (faults.addresses == NULL) freeaddrinfo(list);
}

static char *fault_getenv(const char *name) { return getenv(name); }

/* The files that the library reads are the test's own: "hosts" and "resolv.conf" in this folder. */
static char files_at[64];

static const char *file_path(const char *path) {
    static char own[128];
    const char *name = strrchr(path, '/');
    snprintf(own, sizeof own, "%s%s", files_at, name == NULL ? path : name);
    return own;
}

static int fault_open(const char *path, int flags) {
    return faults_due(OPEN) ? -1 : faults_opened(open(file_path(path), flags));
}

static int fault_stat(const char *path, struct stat *out) {
    return faults_due(STAT) ? -1 : stat(file_path(path), out);
}

static unsigned fault_if_nametoindex(const char *name) {
    return faults_due(INDEX) ? 0 : if_nametoindex(name);
}

static void *fault_malloc(size_t size) { return faults_due(MALLOC) ? NULL : malloc(size); }

#define MTWS_SYS(name) fault_##name
#define MTWS_MALLOC(size) fault_malloc(size)
#define MTWS_FREE(p) free(p)
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "loopback.h"
#include "message_of.h"

/* ---- the platform room, function by function ------------------------------------------------- */

static void entropy(void) { /* FAULTS row 16 */
    static const struct {
        const char *name;
        unsigned upto;
        int error;
        bool ok;
        unsigned calls;
    } rows[] = {
        {"nothing fails", 0, 0, true, 1},
        {"interrupted once", 1, EINTR, true, 2},
        {"interrupted often", 15, EINTR, true, 16},
        {"interrupted for ever", 1000, EINTR, false, 16},
        {"not there", 1000, ENOSYS, false, 1},
        {"fails once", 1, EFAULT, false, 1},
        {"gives too little", 1, 0, false, 1},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        uint8_t bytes[32];
        faults_plan(RANDOM, 1, rows[i].upto, rows[i].error);
        test_context("%s", rows[i].name);
        CHECK_INT(mtws__os_entropy(bytes, sizeof bytes), rows[i].ok);
        CHECK_UINT(faults.counts[RANDOM], rows[i].calls);
    }
}

/* A call that is interrupted goes on, a bounded number of times; other errors are told as they
 * are. */
static void receiving_and_sending(void) {
    static const struct {
        unsigned upto;
        int error;
        ptrdiff_t result;
        unsigned calls;
    } rows[] = {
        {0, 0, 1, 1},
        {1, EINTR, 1, 2},
        {15, EINTR, 1, 16},
        {16, EINTR, -EAGAIN, 16},
        {1000, EINTR, -EAGAIN, 16},
        {1, EAGAIN, -EAGAIN, 1},
        {1, EWOULDBLOCK, -EAGAIN, 1},
        {1, ECONNRESET, -ECONNRESET, 1},
        {1, ETIMEDOUT, -ETIMEDOUT, 1},
        {1, ENOBUFS, -ENOBUFS, 1},
        {1, ENOMEM, -ENOMEM, 1},
        {1, EPIPE, -EPIPE, 1},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        int pair[2];
        char byte = 'x';
        loopback_need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
        test_context("%u times %s", rows[i].upto, strerror(rows[i].error));
        faults_plan(SEND, 1, rows[i].upto, rows[i].error);
        CHECK_INT(mtws__os_send(pair[0], "y", 1), rows[i].result);
        CHECK_UINT(faults.counts[SEND], rows[i].calls);
#ifdef MSG_NOSIGNAL
        CHECK_INT(faults.send_flags, MSG_NOSIGNAL); /* FAULTS row 47 */
#endif
        CHECK_INT(send(pair[0], "z", 1, 0), 1);
        faults_plan(RECV, 1, rows[i].upto, rows[i].error);
        CHECK_INT(mtws__os_receive(pair[1], &byte, 1), rows[i].result);
        CHECK_UINT(faults.counts[RECV], rows[i].calls);
        close(pair[0]);
        close(pair[1]);
    }
}

/* The network as a transport: what is taken without an error and without a byte is no end, and
 * without randomness nothing is opened. */
static void on_the_way(void) {
    static unsigned char memory[MTWS_NET_MEMORY_SIZE];
    mtws_transport way;
    uint16_t port;
    int listener = loopback_listen(&port, 5), result = MTWS_IO_AGAIN;
    faults_plan(RANDOM, 1, 1, ENOSYS);
    CHECK_INT(mtws_net_transport(&way, memory, sizeof memory), MTWS_OK);
    CHECK_INT(way.open(way.ctx, "127.0.0.1", port, false), MTWS_ERR_ENTROPY);
    CHECK_STR(mtws_net_reason(&way), "the system's random source failed");
    CHECK_UINT(faults.counts[SOCKET], 0);
    for (int i = 0; i < 100 && result == MTWS_IO_AGAIN; i++) {
        result = way.open(way.ctx, "127.0.0.1", port, false);
        if (result == MTWS_IO_AGAIN) poll(NULL, 0, 10);
    }
    CHECK_INT(result, 0);
    int server = loopback_accept(listener);
    faults.takes_nothing = true;
    CHECK_INT(way.write(way.ctx, "x", 1), MTWS_IO_AGAIN);
    CHECK_STR(mtws_net_reason(&way), "");
    faults.takes_nothing = false;
    CHECK_INT(way.write(way.ctx, "x", 1), 1);
    mtws_net_destroy(&way);
    CHECK_UINT(faults_open_count(), 0);
    close(server);
    close(listener);
}

static mtws__address loopback_address(uint16_t port) {
    mtws__address address;
    memset(&address, 0, sizeof address);
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&address.storage;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in->sin_port = htons(port);
    address.size = (socklen_t)sizeof *in;
    return address;
}

static void connecting(void) {
    static const int errors[] = {ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, ETIMEDOUT, EADDRNOTAVAIL,
                                 EACCES,       EPERM,       EAFNOSUPPORT, ENOBUFS,   EINPROGRESS};
    mtws__address address = loopback_address(1);
    for (size_t i = 0; i < UNIT_COUNT(errors); i++) {
        test_context("%s", strerror(errors[i]));
        faults_plan(CONNECT, 1, 1, errors[i]);
        int fd = mtws__os_socket(AF_INET);
        CHECK_INT(mtws__os_connect(fd, &address), errors[i]);
        /* How one that was under way ended. */
        int pair[2];
        loopback_need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
        faults_reset();
        faults.socket_error = errors[i];
        CHECK_INT(mtws__os_connected(pair[0]), errors[i]);
        faults_plan(ASK, 1, 1, errors[i]);
        CHECK_INT(mtws__os_connected(pair[0]), errors[i]);
        faults_plan(POLL, 1, 1, errors[i]);
        CHECK_INT(mtws__os_connected(pair[0]), errors[i]);
        faults_plan(POLL, 1, 1, EINTR);
        CHECK_INT(mtws__os_connected(pair[0]), EINPROGRESS);
        CHECK_INT(mtws__os_connected(pair[0]), 0);
        close(pair[0]);
        close(pair[1]);
        mtws__os_close(fd);
    }
    faults_plan(CONNECT, 1, 1, EINTR); /* goes on by itself */
    int fd = mtws__os_socket(AF_INET);
    CHECK_INT(mtws__os_connect(fd, &address), EINPROGRESS);
    mtws__os_close(fd);
    CHECK_UINT(faults_open_count(), 0);
}

static void sockets(void) { /* FAULTS row 52 */
    static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EAFNOSUPPORT};
    for (size_t i = 0; i < UNIT_COUNT(errors); i++) {
        int wake[2];
        test_context("%s", strerror(errors[i]));
        faults_plan(SOCKET, 1, 1, errors[i]);
        errno = 0;
        CHECK_INT(mtws__os_socket(AF_INET), -1);
        CHECK_INT(errno, errors[i]);
        CHECK_UINT(faults.counts[CLOSE], 0);
        faults_plan(SOCKET, 1, 1, errors[i]);
        CHECK_INT(mtws__os_watch_open(), -1);
        faults_plan(BIND, 1, 1, errors[i]);
        CHECK_INT(mtws__os_watch_open(), -1);
        faults_plan(WAKE_OPEN, 1, 1, errors[i]);
        CHECK(!mtws__os_wake_open(wake));
        mtws__os_wake_close(wake);
        CHECK_UINT(faults.wrong_closes, 0);
        faults_plan(OPTION, 1, 100, errors[i]); /* what makes it faster may fail */
        int fd = mtws__os_socket(AF_INET);
        CHECK(fd >= 0);
        mtws__os_close(fd);
    }
    CHECK_UINT(faults_open_count(), 0);
}

static void unsent_and_clock(void) {
    faults_plan(IOCTL, 1, 1, ENOTTY);
    CHECK_UINT(mtws__os_unsent(0), 0);
    faults_plan(CLOCK, 1, 1, EINVAL); /* a system without a clock that counts sleep */
    uint64_t a = mtws__os_now_us();
    CHECK_UINT(faults.counts[CLOCK], 2);
    CHECK(a > 0);
    faults_plan(CLOCK, 1, 100, EINVAL);
    CHECK_UINT(mtws__os_unix_ms(), 0);
    faults_reset();
    faults.ancient = faults.negative = true;
    CHECK_UINT(mtws__os_unix_ms(), 0);
    CHECK_UINT(mtws__os_unsent(0), 0);
    faults_reset();
}

static void waking(void) {
    static const struct {
        unsigned upto;
        int error;
        bool woken;
        unsigned calls;
    } rows[] = {
        {0, 0, true, 1},        {1, EINTR, true, 2},   {15, EINTR, true, 16},
        {99, EINTR, false, 16}, {1, EAGAIN, false, 1}, {1, EBADF, false, 1},
    };
    int fds[2];
    faults_reset();
    if (!CHECK(mtws__os_wake_open(fds))) return;
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("row %zu", i);
        faults_plan(WRITE, 1, rows[i].upto, rows[i].error);
        errno = 4711;
        mtws__os_wake(fds[1]);
        CHECK_INT(errno, 4711);
        CHECK_UINT(faults.counts[WRITE], rows[i].calls);
        CHECK_INT(mtws__os_woken(fds[0]), rows[i].woken);
    }
    faults_plan(READ, 1, 1, EINTR);
    mtws__os_wake(fds[1]);
    if (!mtws__os_woken(fds[0])) CHECK(mtws__os_woken(fds[0])); /* late at most, never lost */
    mtws__os_wake_close(fds);
    CHECK_UINT(faults_open_count(), 0);
}

static void watching(void) {
    static const struct {
        unsigned upto;
        int error;
        bool changed;
    } rows[] = {
        {1, ENOBUFS, true}, {1, EINTR, false},   {99, EINTR, false},
        {1, EAGAIN, false}, {99, ENOBUFS, true}, {1, EBADF, false},
    };
    int pair[2];
    loopback_need(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair) == 0, "socketpair");
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("row %zu", i);
        faults_plan(RECV, 1, rows[i].upto, rows[i].error);
        CHECK_INT(mtws__os_watch_changed(pair[0]), rows[i].changed);
        CHECK(faults.counts[RECV] <= 16);
    }
    faults_reset();
    for (int i = 0; i < 5; i++) CHECK_INT(send(pair[1], "news", 4, 0), 4);
    CHECK(mtws__os_watch_changed(pair[0]));
    CHECK(!mtws__os_watch_changed(pair[0]));
    close(pair[0]);
    close(pair[1]);
}

/* Offline is what is certain to be. */
static void interfaces(void) {
    enum { UP = IFF_UP, RUN = IFF_UP | IFF_RUNNING, LOOP = IFF_UP | IFF_RUNNING | IFF_LOOPBACK };
    static const struct {
        unsigned flags[3];
        int families[3];
        bool found;
    } rows[] = {
        {{LOOP, 0, 0}, {AF_INET, 0, 0}, false},
        {{LOOP, RUN, 0}, {AF_INET, AF_INET, 0}, true},
        {{LOOP, RUN, 0}, {AF_INET, AF_INET6, 0}, true},
        {{LOOP, UP, 0}, {AF_INET, AF_INET, 0}, false},          /* no cable */
        {{LOOP, IFF_RUNNING, 0}, {AF_INET, AF_INET, 0}, false}, /* switched off */
        {{LOOP, RUN, 0}, {AF_INET, AF_PACKET, 0}, false},       /* without an address */
        {{LOOP, RUN, 0}, {AF_INET, -1, 0}, false},
        {{LOOP, UP, RUN}, {AF_INET, AF_INET, AF_INET}, true},
        {{RUN, UP, LOOP}, {AF_INET6, AF_INET, AF_INET}, true},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        struct ifaddrs list[3];
        struct sockaddr addresses[3];
        memset(list, 0, sizeof list);
        memset(addresses, 0, sizeof addresses);
        for (size_t k = 0; k < 3; k++) {
            list[k].ifa_next = k < 2 && rows[i].families[k + 1] != 0 ? &list[k + 1] : NULL;
            list[k].ifa_flags = rows[i].flags[k];
            addresses[k].sa_family = (sa_family_t)rows[i].families[k];
            list[k].ifa_addr = rows[i].families[k] < 0 ? NULL : &addresses[k];
        }
        faults_reset();
        faults.interfaces = list;
        test_context("row %zu", i);
        CHECK_INT(mtws__os_has_interface(), rows[i].found);
        CHECK_UINT(faults.lists_freed, 1);
    }
    faults_plan(INTERFACES, 1, 1, ENOMEM);
    CHECK(mtws__os_has_interface()); /* not known */
    CHECK_UINT(faults.lists_freed, 0);
}

static void unreachable(void) {
    static const struct {
        int error;
        bool certain;
    } rows[] = {
        {ENETUNREACH, true},    {EHOSTUNREACH, false}, {EACCES, false},
        {EADDRNOTAVAIL, false}, {ECONNREFUSED, false}, {EINTR, false},
    };
    mtws__address address = loopback_address(9);
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("%s", strerror(rows[i].error));
        faults_plan(CONNECT, 1, 1, rows[i].error);
        CHECK_INT(mtws__os_unreachable(&address), rows[i].certain);
        CHECK_UINT(faults.counts[CLOSE], 1);
    }
    faults_reset();
    CHECK(!mtws__os_unreachable(&address));
    faults_plan(SOCKET, 1, 1, EMFILE);
    CHECK(!mtws__os_unreachable(&address));
    CHECK_UINT(faults_open_count(), 0);
    errno = ENETUNREACH; /* of a call before */
    faults_plan(SOCKET, 1, 1, EMFILE);
    CHECK_INT(mtws__os_datagram(&address), -1);
    CHECK_INT(errno, EMFILE);
    faults_plan(CONNECT, 1, 1, EHOSTUNREACH);
    CHECK_INT(mtws__os_datagram(&address), -1);
    CHECK_INT(errno, EHOSTUNREACH);
}

/* A target counts as offline only where every address of it is unreachable; one whose addresses are
 * not known, where no server that knows them can be reached. */
static void offline(void) {
    mtws__net net;
    mtws__ip far_away;
    struct ifaddrs one;
    struct sockaddr_in in;
    memset(&one, 0, sizeof one);
    memset(&in, 0, sizeof in);
    in.sin_family = AF_INET;
    one.ifa_flags = IFF_UP | IFF_RUNNING;
    one.ifa_addr = (struct sockaddr *)(void *)&in;
    mtws__ip_parse(mtws__span_of("192.0.2.1"), &far_away);
    for (int asked = 0; asked < 2; asked++) {
        mtws__ip *second = asked ? &net.dns.config.servers[1].ip : &net.known[1];
        mtws__net_start(&net);
        net.asked = asked;
        for (int i = 0; i < 2; i++) {
            if (asked) mtws__dns_config_server(&net.dns.config, &far_away, 53);
            else net.known[net.known_count++] = far_away;
        }
        faults_plan(CONNECT, 1, 99, ENETUNREACH);
        faults.interfaces = &one;
        CHECK(mtws__net_is_offline(&net));
        faults_plan(CONNECT, 1, 1, ENETUNREACH);
        faults.interfaces = &one;
        CHECK(!mtws__net_is_offline(&net));
        faults_plan(CONNECT, 1, 99, EACCES);
        faults.interfaces = &one;
        CHECK(!mtws__net_is_offline(&net));
        faults_plan(CONNECT, 1, 99, ENETUNREACH);
        faults.interfaces = &one;
        second->bytes[0] = 127;
        CHECK(!mtws__net_is_offline(&net));
        second->bytes[0] = 192;
        net.stage = MTWS__NET_HOSTS; /* it may be found there, and be the loopback */
        CHECK(!mtws__net_is_offline(&net));
    }
    mtws__net_start(&net); /* before anything is known */
    faults_plan(CONNECT, 1, 99, ENETUNREACH);
    faults.interfaces = &one;
    CHECK(!mtws__net_is_offline(&net));
    CHECK_UINT(faults_open_count(), 0);
}

/* Addresses of which some are of no use: the first that are, as many as there is room for. */
static void resolving(void) {
    enum { LIST = 20 };
    static struct addrinfo list[LIST];
    static struct sockaddr_in6 addresses[LIST];
    mtws__address out[MTWS__ADDRESSES_MAX + 1];
    int count = -1;
    memset(out, 0x5a, sizeof out);
    for (size_t i = 0; i < LIST; i++) {
        bool six = i % 2 == 1;
        list[i].ai_family = i == 0 ? AF_UNIX : six ? AF_INET6 : AF_INET;
        list[i].ai_addrlen =
            (socklen_t)(six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
        if (i == 2) list[i].ai_addrlen = (socklen_t)sizeof(struct sockaddr_storage) + 1;
        list[i].ai_addr = (struct sockaddr *)(void *)&addresses[i];
        list[i].ai_next = i + 1 < LIST ? &list[i + 1] : NULL;
        addresses[i].sin6_family = (sa_family_t)list[i].ai_family;
        addresses[i].sin6_flowinfo = (uint32_t)i; /* where an IPv4 address lies */
    }
    faults_reset();
    faults.addresses = list;
    CHECK_INT(mtws__os_resolve("h", 7, out, &count), 0);
    CHECK_INT(count, MTWS__ADDRESSES_MAX);
    CHECK_UINT(faults.lists_freed, 1);
    CHECK_UINT(*(uint8_t *)&out[MTWS__ADDRESSES_MAX], 0x5a);
    CHECK_INT(out[0].storage.ss_family, AF_INET6); /* the first two that are of use: 1 and 3 */
    CHECK_INT(out[1].storage.ss_family, AF_INET6);
    CHECK_INT(out[2].storage.ss_family, AF_INET);
    faults_reset();
    list[0].ai_next = NULL;
    faults.addresses = list;
    CHECK(mtws__os_resolve("h", 7, out, &count) != 0);
    CHECK_INT(count, 0);
    CHECK_UINT(faults.lists_freed, 1);
    faults_plan(RESOLVE, 1, 1, EAI_AGAIN);
    CHECK_INT(mtws__os_resolve("h", 7, out, &count), EAI_AGAIN);
    CHECK_UINT(faults.lists_freed, 0);
}

/* MTWS_RESOLVER_SYSTEM: its addresses go into the race, its error becomes the reason. */
static void asking_the_system(void) {
    struct addrinfo list[2];
    struct sockaddr_in6 six;
    struct sockaddr_in four;
    mtws__net net;
    memset(list, 0, sizeof list);
    memset(&six, 0, sizeof six);
    memset(&four, 0, sizeof four);
    four.sin_family = AF_INET;
    four.sin_addr.s_addr = htonl(0x7f000001);
    six.sin6_family = AF_INET6;
    six.sin6_addr.s6_addr[0] = 0xfe;
    six.sin6_addr.s6_addr[1] = 0x80;
    six.sin6_scope_id = 42;
    list[0].ai_family = AF_INET6;
    list[0].ai_addrlen = (socklen_t)sizeof six;
    list[0].ai_addr = (struct sockaddr *)(void *)&six;
    list[0].ai_next = &list[1];
    list[1].ai_family = AF_INET;
    list[1].ai_addrlen = (socklen_t)sizeof four;
    list[1].ai_addr = (struct sockaddr *)(void *)&four;
    faults_plan(CONNECT, 1, 99, ENETUNREACH);
    faults.addresses = list;
    mtws__net_start(&net);
    mtws__net_names(&net, MTWS_RESOLVER_SYSTEM, NULL, 0);
    CHECK_INT(mtws__net_open(&net, "h.local", 80, false), MTWS_ERR_CONNECT);
    CHECK_INT(net.known_count, 2);
    CHECK(net.known[0].six && !net.known[1].six);
    CHECK_STR(net.known[0].zone, "42");
    CHECK_UINT(faults.counts[CONNECT], 2);
    CHECK_UINT(faults.counts[OPEN], 0);
    CHECK_STR(mtws__net_why(&net, MTWS_ERR_CONNECT), "network is unreachable");
    mtws__net_close(&net);
    CHECK_STR(faults.host, "h.local");
    CHECK_INT(mtws__net_open(&net, "h.local.", 80, false), MTWS_ERR_CONNECT);
    CHECK_STR(faults.host, "h.local."); /* nothing is to be searched */
    mtws__net_close(&net);
    faults_plan(RESOLVE, 1, 1, EAI_AGAIN);
    CHECK_INT(mtws__net_open(&net, "h.local", 80, false), MTWS_ERR_RESOLVE);
    CHECK_STR(mtws__net_why(&net, MTWS_ERR_RESOLVE), gai_strerror(EAI_AGAIN));
    mtws__net_close(&net);
    CHECK_UINT(faults_open_count(), 0);
}

static void zones(void) {
    static const uint8_t bytes[16] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    mtws__address address;
    uint8_t back[16];
    uint32_t zone;
    faults_reset();
    mtws__os_address(&address, true, bytes, "", 80);
    CHECK(mtws__os_address_bytes(&address, back, &zone));
    CHECK_MEM(back, bytes, 16);
    CHECK_UINT(zone, 0);
    mtws__os_address(&address, true, bytes, "17", 80);
    mtws__os_address_bytes(&address, back, &zone);
    CHECK_UINT(zone, 17);
    CHECK_UINT(faults.counts[INDEX], 0);
    mtws__os_address(&address, true, bytes, "lo", 80);
    mtws__os_address_bytes(&address, back, &zone);
    CHECK_UINT(zone, if_nametoindex("lo"));
    faults_plan(INDEX, 1, 1, ENODEV);
    mtws__os_address(&address, true, bytes, "1x", 80);
    mtws__os_address_bytes(&address, back, &zone);
    CHECK_UINT(zone, 0);
    mtws__os_address(&address, true, bytes, "1.5", 80); /* as VLANs are called */
    mtws__os_address_bytes(&address, back, &zone);
    CHECK_UINT(zone, if_nametoindex("1.5"));
    CHECK_UINT(faults.counts[INDEX], 2);
    mtws__os_address(&address, false, bytes, "", 80);
    CHECK(!mtws__os_address_bytes(&address, back, &zone));
    CHECK_MEM(back, bytes, 4);
    CHECK_UINT(back[4], 0);
}

static void files(void) {
    mtws__stamp stamp, again;
    uint8_t bytes[64];
    faults_reset();
    CHECK(mtws__os_file_stamp("/etc/hosts", &stamp));
    CHECK(mtws__os_file_stamp("/etc/hosts", &again));
    CHECK_MEM(&stamp, &again, sizeof stamp);
    CHECK(!mtws__os_file_stamp("/etc/nothing", &again));
    memset(&stamp, 0, sizeof stamp);
    CHECK_MEM(&stamp, &again, sizeof stamp);
    faults_plan(STAT, 1, 1, EACCES);
    CHECK(!mtws__os_file_stamp("/etc/hosts", &again));
    CHECK_INT(mtws__os_config_open("/etc/nothing"), -1);
    static const struct {
        unsigned upto;
        int error;
        bool good;
    } rows[] = {{0, 0, true},       {1, EINTR, true}, {15, EINTR, true},
                {16, EINTR, false}, {1, EIO, false},  {1, EISDIR, false}};
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("row %zu", i);
        faults_plan(READ, 1, rows[i].upto, rows[i].error);
        int fd = mtws__os_config_open("/etc/hosts");
        CHECK(fd >= 0 && loopback_is_cloexec(fd));
        ptrdiff_t got = mtws__os_file_read(fd, bytes, sizeof bytes);
        CHECK(rows[i].good ? got > 0 : got == -rows[i].error);
        mtws__os_close(fd);
        faults_plan(OPEN, 1, rows[i].upto, rows[i].error);
        fd = mtws__os_config_open("/etc/hosts");
        CHECK_INT(fd >= 0, rows[i].good);
        if (fd < 0) CHECK_INT(errno, rows[i].error);
        if (fd >= 0) mtws__os_close(fd);
    }
    CHECK_UINT(faults_open_count(), 0);
}

/* FAULTS row 50: whatever the first address answers, the second is tried; the last error is
 * told. */
static void next_address(void) {
    static const int errors[] = {ECONNREFUSED,  ENETUNREACH, EHOSTUNREACH, ETIMEDOUT,
                                 EADDRNOTAVAIL, EACCES,      EPERM,        EAFNOSUPPORT,
                                 ENOBUFS,       EMFILE,      ENFILE,       ENOMEM};
    uint16_t port;
    int listener = loopback_listen(&port, 50);
    for (size_t i = 0; i < UNIT_COUNT(errors); i++) {
        for (int kind = 0; kind < 2; kind++) {
            call which = kind == 0 ? CONNECT : SOCKET;
            for (int upto = 1; upto <= 2; upto++) {
                mtws__net net;
                mtws__ip ip;
                mtws__net_start(&net);
                net.stage = MTWS__NET_KNOWN;
                net.port = port;
                mtws__ip_parse(mtws__span_of("127.0.0.2"), &ip);
                mtws__net_add(&net, &ip);
                ip.bytes[3] = 1;
                mtws__net_add(&net, &ip);
                faults_plan(which, 1, (unsigned)upto, errors[i]);
                test_context("%s from %s, %d of 2", strerror(errors[i]), call_names[which], upto);
                int result = MTWS_IO_AGAIN;
                for (int k = 0; k < 50 && result == MTWS_IO_AGAIN; k++) {
                    result = mtws__net_open(&net, "h", port, false);
                    if (result == MTWS_IO_AGAIN) loopback_wait(net.sockets[0].fd, POLLOUT);
                }
                CHECK_INT(result, upto == 1 ? 0 : MTWS_ERR_CONNECT);
                CHECK_INT(net.error, errors[i]);
                CHECK(strcmp(mtws__os_error_text(net.error), mtws__os_error_text(0)) != 0);
                CHECK_INT(net.race.fates[0], MTWS__RACE_LOST);
                CHECK_INT(net.race.fates[1], upto == 1 ? MTWS__RACE_RUNS : MTWS__RACE_LOST);
                mtws__net_close(&net);
                CHECK_UINT(faults_open_count(), 0);
                CHECK_UINT(faults.wrong_closes, 0);
            }
        }
    }
    close(listener);
}

/* Where nobody listens, TCP may connect a socket to itself: that is refused like any other. */
static void to_itself(void) {
    uint16_t port;
    int listener = loopback_listen(&port, 5);
    for (int self = 0; self < 2; self++) {
        mtws__net net;
        int result = MTWS_IO_AGAIN;
        test_context("self %d", self);
        faults_reset();
        faults.self = self != 0;
        mtws__net_start(&net);
        for (int i = 0; i < 50 && result == MTWS_IO_AGAIN; i++) {
            result = mtws__net_open(&net, "127.0.0.1", port, false);
            if (result == MTWS_IO_AGAIN) loopback_wait(net.sockets[0].fd, POLLOUT);
        }
        CHECK_INT(result, self ? MTWS_ERR_CONNECT : 0);
        if (self) CHECK_STR(mtws__net_why(&net, result), "connection refused");
        mtws__net_close(&net);
        CHECK_UINT(faults_open_count(), 0);
        CHECK_UINT(faults.wrong_closes, 0);
    }
    close(listener);
}

/* ---- a server for one client, within the same thread ----------------------------------------- */

enum { MESSAGES = 3 };

typedef struct server {
    int listener, fd;
    uint16_t port;
    int names; /* the name server's socket ... */
    uint16_t names_port;
    unsigned questions; /* ... and what came to it */
    bool upgraded;
    uint8_t bytes[8192];
    size_t size;
    unsigned received[MESSAGES + 1]; /* how often each message has come */
    uint64_t last;                   /* the number of the last one */
    bool disordered;
} server;

static void server_open(server *s) {
    memset(s, 0, sizeof *s);
    s->fd = -1;
    s->listener = loopback_listen(&s->port, 50);
    fcntl(s->listener, F_SETFL, O_NONBLOCK);
    struct sockaddr_in address;
    socklen_t size = (socklen_t)sizeof address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->names = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    loopback_need(bind(s->names, (const struct sockaddr *)&address, size) == 0, "bind");
    loopback_need(getsockname(s->names, (struct sockaddr *)&address, &size) == 0, "getsockname");
    s->names_port = ntohs(address.sin_port);
}

static void server_close(server *s) {
    close(s->listener);
    close(s->names);
}

/* Answers what was asked: every name has the address 127.0.0.1, and none of IPv6. */
static void server_names(server *s) {
    static made m;
    uint8_t query[512];
    struct sockaddr_in from;
    for (;;) {
        socklen_t size = (socklen_t)sizeof from;
        ssize_t got =
            recvfrom(s->names, query, sizeof query, 0, (struct sockaddr *)(void *)&from, &size);
        if (got <= 0) return;
        s->questions++;
        made_start(&m, query, (size_t)got, 0);
        if (made_type(query, (size_t)got) == 1) {
            made_number(&m, 2, 0xc00c);
            made_record(&m, MADE_ANSWER, 1, 1, 4);
            made_bytes(&m, "\x7f\0\0\1", 4);
        } else {
            made_soa(&m, 1, 1);
        }
        sendto(s->names, m.data, m.size, 0, (const struct sockaddr *)(void *)&from, size);
    }
}

static void server_drop(server *s) {
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
    s->size = 0;
    s->upgraded = false;
    s->last = 0;
}

static void server_send(server *s, const void *data, size_t size) {
    if (send(s->fd, data, size, MSG_NOSIGNAL) != (ssize_t)size) server_drop(s);
}

static void server_upgrade(server *s) {
    s->bytes[s->size] = 0;
    const char *text = (const char *)s->bytes, *key = strstr(text, "Sec-WebSocket-Key: ");
    const char *end = strstr(text, "\r\n\r\n");
    if (end == NULL || key == NULL) return;
    char accept_text[29], answer[256];
    mtws__handshake_accept(accept_text, key + 19);
    int size = snprintf(answer, sizeof answer,
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                        accept_text);
    size_t used = (size_t)(end - text) + 4;
    memmove(s->bytes, s->bytes + used, s->size - used);
    s->size -= used;
    s->upgraded = true;
    server_send(s, answer, (size_t)size);
}

/* Answers Pings, counts messages ("1", "2", ...), answers Close and ends. */
static void server_frame(server *s, const mtws__frame *f, uint8_t *payload) {
    uint8_t answer[2 + 125];
    for (size_t i = 0; i < f->size; i++) payload[i] ^= f->key[i % 4];
    if (f->opcode == MTWS_TEXT && f->size == 1) {
        uint64_t number = (uint64_t)(payload[0] - '0');
        if (number >= 1 && number <= MESSAGES) s->received[number]++;
        s->disordered = s->disordered || number != s->last + 1;
        s->last = number;
        return;
    }
    if (f->opcode != 8 && f->opcode != 9) return;
    answer[0] = f->opcode == 8 ? 0x88 : 0x8a;
    answer[1] = (uint8_t)f->size;
    memcpy(answer + 2, payload, (size_t)f->size);
    server_send(s, answer, (size_t)f->size + 2);
    if (f->opcode == 8) server_drop(s);
}

static void server_step(server *s) {
    server_names(s);
    int fd = accept(s->listener, NULL, NULL);
    if (fd >= 0) {
        server_drop(s);
        s->fd = fd;
        fcntl(fd, F_SETFL, O_NONBLOCK);
    }
    if (s->fd < 0) return;
    ssize_t got = recv(s->fd, s->bytes + s->size, sizeof s->bytes - s->size - 1, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        server_drop(s);
        return;
    }
    if (got > 0) s->size += (size_t)got;
    if (!s->upgraded) server_upgrade(s);
    while (s->fd >= 0 && s->upgraded) {
        mtws__frame f;
        int decoded = mtws__frame_decode(&f, s->bytes, s->size, true);
        CHECK(decoded >= 0);
        if (decoded != 1 || s->size - f.header_size < f.size) return;
        server_frame(s, &f, s->bytes + f.header_size);
        if (s->fd < 0) return;
        size_t used = f.header_size + (size_t)f.size;
        memmove(s->bytes, s->bytes + used, s->size - used);
        s->size -= used;
    }
}

/* ---- a client's whole life ------------------------------------------------------------------- */

static uint64_t virtual_us;

static uint64_t virtual_now(void *ctx) {
    (void)ctx;
    return virtual_us;
}

typedef struct life {
    mtws_result created;
    unsigned delivered, dropped, errors;
    bool disconnected;
    unsigned steps;
    mtws_state state;
    unsigned most_calls; /* within one mtws_poll */
} life;

static unsigned calls_so_far(void) {
    unsigned sum = 0;
    for (size_t i = 0; i < CALLS; i++) sum += faults.counts[i];
    return sum;
}

static void life_event(life *l, const mtws_event *e) {
    l->state = e->state;
    if (e->type == MTWS_EVENT_DELIVERED) l->delivered += (unsigned)(e->id - e->first_id + 1);
    if (e->type == MTWS_EVENT_DROPPED) l->dropped++;
    if (e->type == MTWS_EVENT_STATE && e->state == MTWS_STATE_ERROR) l->errors++;
    if (e->type == MTWS_EVENT_STATE && e->state == MTWS_STATE_DISCONNECTED) l->disconnected = true;
}

/* Connects, sends, waits until everything is delivered, disconnects: in virtual time, over real
 * sockets. */
static life live(server *s, unsigned max_steps) {
    life l;
    mtws_options options;
    mtws_client *ws = NULL;
    mtws_event e;
    char url[64];
    memset(&l, 0, sizeof l);
    memset(&options, 0, sizeof options);
    options.max_reconnect_attempts = MTWS_UNLIMITED;
    options.wakeable = true;
    options.clock.now_us = virtual_now;
    options.clock.unix_ms = virtual_now;
    options.max_message_size = 1000;
    options.max_queue_size = 1000;
    char names[64];
    snprintf(names, sizeof names, "127.0.0.1:%u", (unsigned)s->names_port);
    options.dns_servers = names;
    virtual_us = 1000000;
    l.created = mtws_create(&ws, &options);
    if (l.created != MTWS_OK) {
        CHECK(ws == NULL);
        return l;
    }
    snprintf(url, sizeof url, "ws://h.example:%u/", (unsigned)s->port);
    CHECK_INT(mtws_connect(ws, url, NULL), MTWS_OK);
    for (int i = 1; i <= MESSAGES; i++) {
        char text[2] = {(char)('0' + i), 0};
        CHECK_INT(mtws_send_text(ws, text), MTWS_OK);
    }
    CHECK_INT(mtws_wake(ws), MTWS_OK);
    bool stopping = false;
    while (l.steps++ < max_steps && !l.disconnected) {
        int got;
        do {
            unsigned before = calls_so_far();
            got = mtws_poll(ws, &e, 0);
            unsigned calls = calls_so_far() - before;
            if (calls > l.most_calls) l.most_calls = calls;
            if (got == 1) life_event(&l, &e);
        } while (got == 1);
        server_step(s);
        virtual_us += 10000;
        if (l.delivered < MESSAGES || stopping) continue;
        stopping = true;
        CHECK_INT(mtws_disconnect(ws, 1000, NULL), MTWS_OK);
    }
    mtws_destroy(ws);
    server_drop(s);
    server_step(s);
    server_drop(s);
    return l;
}

static void check_clean(void) {
    CHECK_UINT(faults_open_count(), 0);
    CHECK_UINT(faults.wrong_closes, 0); /* FAULTS row 55 */
    CHECK_UINT(faults.inherited, 0);    /* FAULTS row 54, name servers and files too */
}

static void check_all_delivered(const server *s, const life *l) {
    CHECK_UINT(l->delivered, MESSAGES);
    CHECK_UINT(l->dropped, 0);
    CHECK(l->disconnected);
    for (int i = 1; i <= MESSAGES; i++) CHECK(s->received[i] >= 1);
    CHECK(!s->disordered);
}

/* What each call can plausibly fail with. */
static const struct {
    call which;
    int errors[6];
} plausible[] = {
    {CLOCK, {EINVAL}},
    {RANDOM, {EINTR, ENOSYS, EAGAIN}},
    {SOCKET, {EMFILE, ENFILE, ENOBUFS, ENOMEM, EAFNOSUPPORT}},
    {OPTION, {EINVAL, ENOPROTOOPT}},
    {CONNECT, {ECONNREFUSED, ENETUNREACH, ETIMEDOUT, EINTR, EADDRNOTAVAIL, EPERM}},
    {POLL, {EINTR, ENOMEM}},
    {ASK, {ENOBUFS, EINVAL}},
    {ENDS, {ENOBUFS, ENOTCONN}},
    {RECV, {EINTR, EAGAIN, ECONNRESET, ETIMEDOUT, ENOBUFS, ENOMEM}},
    {SEND, {EINTR, EAGAIN, ECONNRESET, EPIPE, ENOBUFS, ENOMEM}},
    {IOCTL, {ENOTTY}},
    {SHUTDOWN, {ENOTCONN}},
    {CLOSE, {EINTR, EIO}},
    {WAKE_OPEN, {EMFILE, ENFILE, ENOMEM}},
    {WRITE, {EINTR, EAGAIN}},
    {READ, {EINTR, EAGAIN, EIO}},
    {BIND, {EPERM}},
    {INTERFACES, {ENOMEM}},
    {OPEN, {EINTR, EMFILE, ENFILE, ENOENT, EACCES}},
    {STAT, {ENOENT, EACCES}},
    {MALLOC, {ENOMEM}},
};

/* Each call of a life that goes well fails once: the client comes back, and everything is
 * delivered; or it could not be made, and says so. */
static void each_call_fails_once(void) {
    server s;
    unsigned usual[CALLS];
    server_open(&s);
    faults_reset();
    life good = live(&s, 3000);
    memcpy(usual, faults.counts, sizeof usual);
    if (test_begin("nothing fails")) {
        check_all_delivered(&s, &good);
        check_clean();
        CHECK_UINT(good.errors, 0);
        CHECK_UINT(usual[MALLOC], 1); /* FAULTS row 56: the header makes no other */
        /* The eventfd and two files are closed too. */
        CHECK_UINT(usual[SOCKET] + usual[WAKE_OPEN] + usual[OPEN], usual[CLOSE]);
        CHECK_UINT(usual[OPEN], 2);
        CHECK(s.questions == 2 && usual[RESOLVE] == 0);
        test_end();
    }
    for (size_t i = 0; i < UNIT_COUNT(plausible); i++) {
        call which = plausible[i].which;
        /* With a clock of its own, and online, a life does not make each of them. */
        if (usual[which] == 0 || !test_begin("%s", call_names[which])) continue;
        for (size_t k = 0; k < 6 && plausible[i].errors[k] != 0 && !test_failing(); k++) {
            for (unsigned n = 1; n <= usual[which] && n <= 120 && !test_failing(); n++) {
                memset(s.received, 0, sizeof s.received);
                s.disordered = false;
                faults_plan(which, n, n, plausible[i].errors[k]);
                test_context("call %u of %u: %s", n, usual[which],
                             strerror(plausible[i].errors[k]));
                life l = live(&s, 20000);
                check_clean();
                CHECK(l.most_calls < 200);
                if (l.created == MTWS_OK) {
                    check_all_delivered(&s, &l);
                } else if (which == MALLOC) {
                    CHECK_INT(l.created, MTWS_ERR_MEMORY);
                } else {
                    CHECK(which == WAKE_OPEN);
                    CHECK_INT(l.created, MTWS_ERR_CONNECT);
                }
            }
        }
        test_end();
    }
    server_close(&s);
}

/* From some call on everything of that kind fails: no crash, no leak, no work without end; and when
 * the cause is gone, the next life goes well. */
static void calls_fail_for_ever(void) {
    server s;
    server_open(&s);
    for (size_t i = 0; i < UNIT_COUNT(plausible); i++) {
        call which = plausible[i].which;
        if (!test_begin("%s", call_names[which])) continue;
        for (size_t k = 0; k < 6 && plausible[i].errors[k] != 0 && !test_failing(); k++) {
            for (unsigned n = 1; n <= 40 && !test_failing(); n += 1 + n / 3) {
                faults_plan(which, n, UINT32_MAX, plausible[i].errors[k]);
                test_context("from call %u on: %s", n, strerror(plausible[i].errors[k]));
                life l = live(&s, 400);
                check_clean();
                CHECK(l.most_calls < 200);
            }
        }
        memset(s.received, 0, sizeof s.received);
        s.disordered = false;
        faults_reset();
        life l = live(&s, 3000);
        test_context("afterwards");
        check_all_delivered(&s, &l);
        check_clean();
        test_end();
    }
    server_close(&s);
}

/* FAULTS row 49: one byte a call, and EAGAIN before each: the same bytes of the same frames. */
static void byte_by_byte(void) {
    for (int kind = 1; kind < 4; kind++) {
        server s;
        server_open(&s);
        faults_reset();
        faults.most = (kind & 1) != 0 ? 1 : 0;
        faults.stutter = (kind & 2) != 0;
        test_context("kind %d", kind);
        life l = live(&s, 20000);
        check_all_delivered(&s, &l);
        CHECK_UINT(l.errors, 0);
        for (int i = 1; i <= MESSAGES; i++) CHECK_UINT(s.received[i], 1);
        check_clean();
        server_close(&s);
    }
}

/* A client that hears nothing of the machine's network, which may change. */
static mtws_client *secluded(void) {
    mtws_client *ws = NULL;
    mtws_options options;
    memset(&options, 0, sizeof options);
    options.network = MTWS_NETWORK_MANUAL;
    CHECK_INT(mtws_create(&ws, &options), MTWS_OK);
    return ws;
}

/* An idle wait is one call to poll, in real time. */
static void idle_is_quiet(void) {
    server s;
    mtws_event e;
    char url[64];
    bool connected = false;
    server_open(&s);
    faults_reset();
    mtws_client *ws = secluded();
    snprintf(url, sizeof url, "ws://127.0.0.1:%u/", (unsigned)s.port);
    CHECK_INT(mtws_connect(ws, url, NULL), MTWS_OK);
    for (int i = 0; i < 500 && !connected; i++) {
        if (mtws_poll(ws, &e, 10) == 1) connected = e.state == MTWS_STATE_CONNECTED;
        server_step(&s);
    }
    CHECK(connected);
    while (mtws_poll(ws, &e, 0) == 1) {
    }
    unsigned polls = faults.counts[POLL];
    uint64_t before_us = mtws__os_now_us();
    CHECK_INT(mtws_poll(ws, &e, 200), 0);
    CHECK(mtws__os_now_us() - before_us >= 200000);
    CHECK(faults.counts[POLL] - polls <= 2);
    mtws_destroy(ws);
    check_clean();
    server_drop(&s);
    server_close(&s);
}

/* Room to write is waited for only while there is something to write. */
static void what_waited_is_cleared(void) {
    server s;
    mtws_event e;
    mtws_wait wait;
    char url[64];
    bool connected = false;
    server_open(&s);
    faults_reset();
    mtws_client *ws = secluded();
    snprintf(url, sizeof url, "ws://127.0.0.1:%u/", (unsigned)s.port);
    CHECK_INT(mtws_connect(ws, url, NULL), MTWS_OK);
    for (int i = 0; i < 500 && !connected; i++) {
        if (mtws_poll(ws, &e, 10) == 1) connected = e.state == MTWS_STATE_CONNECTED;
        server_step(&s);
    }
    CHECK(connected);
    while (mtws_poll(ws, &e, 0) == 1) {
    }
    faults_plan(SEND, 1, 1000, EAGAIN);
    CHECK_INT(mtws_send_text(ws, "waits"), MTWS_OK);
    CHECK_INT(mtws_poll(ws, &e, 0), 0);
    mtws_get_wait(ws, &wait);
    CHECK(wait.count >= 1 && wait.fds[0].want_read && wait.fds[0].want_write);
    CHECK_INT(mtws_clear_queue(ws), MTWS_OK);
    mtws_get_wait(ws, &wait);
    CHECK(wait.count >= 1 && wait.fds[0].want_read && !wait.fds[0].want_write);
    faults_reset();
    CHECK_INT(mtws_poll(ws, &e, 0), 1);
    CHECK_INT(e.type, MTWS_EVENT_DROPPED);
    mtws_destroy(ws);
    check_clean();
    server_drop(&s);
    server_close(&s);
}

/* The first address refuses, the second is silent: the wait for it is quiet, too. */
static void refusal_and_silence_are_quiet(void) {
    enum { FILLERS = 8 };
    mtws_client *ws = NULL;
    mtws_event e;
    mtws_options options;
    char url[64];
    uint16_t port;
    int listener = loopback_listen(&port, 0), fillers[FILLERS], count = 0;
    bool stuck = false;
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    while (count < FILLERS && !stuck) { /* until the listener takes no more */
        fillers[count] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fillers[count], (const struct sockaddr *)&address, (socklen_t)sizeof address);
        struct pollfd p = {fillers[count++], POLLOUT, 0};
        stuck = poll(&p, 1, 100) == 0;
    }
    CHECK(stuck);
    FILE *file = fopen(file_path("/hosts"), "w");
    loopback_need(file != NULL, "a file");
    fputs("127.0.0.2 twofold\n127.0.0.1 twofold\n", file);
    fclose(file);
    faults_reset();
    memset(&options, 0, sizeof options);
    options.connect_timeout_ms = 2000;
    CHECK_INT(mtws_create(&ws, &options), MTWS_OK);
    snprintf(url, sizeof url, "ws://twofold:%u/", (unsigned)port);
    CHECK_INT(mtws_connect(ws, url, NULL), MTWS_OK);
    bool failed = false;
    for (int i = 0; i < 100 && !failed; i++) {
        if (mtws_poll(ws, &e, 200) == 1) failed = e.state == MTWS_STATE_ERROR;
    }
    CHECK(failed && e.result == MTWS_ERR_TIMEOUT);
    CHECK(faults.counts[CONNECT] >= 2);
    CHECK_RANGE(faults.counts[POLL], 1, 40);
    mtws_destroy(ws);
    check_clean();
    while (count > 0) close(fillers[--count]);
    close(listener);
}

/* Without a limit mtws_poll returns with an event alone, however long that takes: here the attempts
 * on a server that never answers, and the delays between. */
static void waits_without_limit(void) {
    server s;
    mtws_client *ws = NULL;
    mtws_event e;
    mtws_options options;
    char url[64];
    static const mtws_state states[] = {MTWS_STATE_CONNECTING,   MTWS_STATE_ERROR,
                                        MTWS_STATE_RECONNECTING, MTWS_STATE_ERROR,
                                        MTWS_STATE_RECONNECTING, MTWS_STATE_ERROR,
                                        MTWS_STATE_FAILED};
    server_open(&s);
    faults_reset();
    memset(&options, 0, sizeof options);
    options.connect_timeout_ms = 50;
    options.initial_reconnect_delay_ms = options.max_reconnect_delay_ms = 250;
    options.max_reconnect_attempts = 2;
    CHECK_INT(mtws_create(&ws, &options), MTWS_OK);
    snprintf(url, sizeof url, "ws://127.0.0.1:%u/", (unsigned)s.port);
    CHECK_INT(mtws_connect(ws, url, NULL), MTWS_OK);
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        CHECK_INT(mtws_poll(ws, &e, -1), 1);
        CHECK_INT(e.type, MTWS_EVENT_STATE);
        CHECK_INT(e.state, states[i]);
    }
    CHECK_INT(mtws_poll(ws, &e, -1), MTWS_ERR_IDLE);
    CHECK(faults.counts[POLL] < 40);
    mtws_destroy(ws);
    check_clean();
    server_close(&s);
}

/* FAULTS row 48: a signal ends the wait of mtws_poll with 0, at once, and the next one waits. */
static void interrupted_wait(void) {
    server s;
    mtws_event e;
    char url[64];
    server_open(&s);
    faults_reset();
    mtws_client *ws = secluded();
    snprintf(url, sizeof url, "ws://127.0.0.1:%u/", (unsigned)s.port);
    CHECK_INT(mtws_connect(ws, url, NULL), MTWS_OK);
    for (int i = 0; i < 500 && mtws_get_state(ws) != MTWS_STATE_CONNECTED; i++) {
        mtws_poll(ws, &e, 10);
        server_step(&s);
    }
    CHECK_INT(mtws_get_state(ws), MTWS_STATE_CONNECTED);
    while (mtws_poll(ws, &e, 0) == 1) {
    }
    for (int i = 0; i < 5; i++) {
        faults_plan(POLL, 1, 1, EINTR);
        CHECK_INT(mtws_poll(ws, &e, 2000), 0);
        CHECK_INT(e.type, MTWS_EVENT_NONE);
        CHECK_UINT(faults.counts[POLL], 1);
        CHECK_UINT(faults.counts[SEND], 0);
    }
    faults_reset();
    uint64_t before_us = mtws__os_now_us();
    CHECK_INT(mtws_poll(ws, &e, 50), 0);
    CHECK(mtws__os_now_us() - before_us >= 50000);
    CHECK_RANGE(faults.counts[POLL], 1, 2);
    mtws_destroy(ws);
    check_clean();
    server_drop(&s);
    server_close(&s);
}

static bool waited_for(const mtws_wait *wait, int fd) {
    for (int i = 0; i < wait->count; i++) {
        if (wait->fds[i].fd == fd) return wait->fds[i].want_read && !wait->fds[i].want_write;
    }
    return false;
}

/* What mtws_wake writes to is waited for, by mtws_poll and by whoever asks mtws_get_wait, and so is
 * the network. */
static void woken_from_a_wait(void) {
    server s;
    mtws_client *ws = NULL;
    mtws_event e;
    mtws_wait wait;
    mtws_options options;
    char url[64];
    server_open(&s);
    faults_reset();
    memset(&options, 0, sizeof options);
    options.wakeable = true;
    CHECK_INT(mtws_create(&ws, &options), MTWS_OK);
    snprintf(url, sizeof url, "ws://127.0.0.1:%u/", (unsigned)s.port);
    CHECK_INT(mtws_connect(ws, url, NULL), MTWS_OK);
    CHECK_INT(mtws_poll(ws, &e, -1), 1);
    CHECK_INT(mtws_poll(ws, &e, 0), 0);
    mtws_get_wait(ws, &wait);
    CHECK(waited_for(&wait, ws->wake[0]));
    if (ws->watch >= 0) CHECK(waited_for(&wait, ws->watch));
    CHECK_INT(wait.count, 2 + (ws->watch >= 0));
    uint64_t before_us = mtws__os_now_us();
    CHECK_INT(mtws_wake(ws), MTWS_OK);
    CHECK_INT(mtws_poll(ws, &e, 15000), 0);
    CHECK(mtws__os_now_us() - before_us < 15000000);
    mtws_destroy(ws);
    check_clean();
    server_close(&s);
}

/* What follows a first failure, where connecting fails with `error` and only the loopback is up. */
static mtws_state after_failure(const char *proxy, const char *url, int error) {
    mtws_client *ws = NULL;
    mtws_event e;
    mtws_options options;
    struct ifaddrs loopback;
    struct sockaddr address;
    memset(&options, 0, sizeof options);
    memset(&loopback, 0, sizeof loopback);
    memset(&address, 0, sizeof address);
    address.sa_family = AF_INET;
    loopback.ifa_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
    loopback.ifa_addr = &address;
    options.proxy = proxy;
    faults_reset();
    CHECK_INT(mtws_create(&ws, &options), MTWS_OK);
    CHECK_INT(mtws_connect(ws, url, NULL), MTWS_OK);
    bool watches = ws->watch >= 0;
    faults_plan(CONNECT, 1, 99, error);
    faults.interfaces = &loopback;
    mtws_state state = MTWS_STATE_CONNECTING;
    for (int i = 0; i < 50 && (state == MTWS_STATE_CONNECTING || state == MTWS_STATE_ERROR); i++) {
        mtws_poll(ws, &e, 100);
        state = mtws_get_state(ws);
    }
    mtws_destroy(ws);
    check_clean();
    /* Where the system tells of no changes, nothing is ever offline. */
    return watches || state != MTWS_STATE_RECONNECTING ? state : MTWS_STATE_WAITING_FOR_NETWORK;
}

/* Through a proxy it is the way to the proxy that is there or not. */
static void offline_by_the_proxy(void) {
    const mtws_state waits = MTWS_STATE_WAITING_FOR_NETWORK;
    CHECK_INT(after_failure(NULL, "ws://192.0.2.1/", ENETUNREACH), waits);
    CHECK_INT(after_failure("http://192.0.2.1", "ws://127.0.0.1:9/", ENETUNREACH), waits);
    CHECK_INT(after_failure("socks5://192.0.2.1", "ws://127.0.0.1:9/", ENETUNREACH), waits);
    mtws_client *ws = NULL;
    CHECK_INT(mtws_create(&ws, NULL), MTWS_OK);
    bool watches = ws->watch >= 0;
    mtws_destroy(ws);
    if (!watches) return;
    const mtws_state tries = MTWS_STATE_RECONNECTING;
    CHECK_INT(after_failure(NULL, "ws://127.0.0.1:9/", ECONNREFUSED), tries);
    CHECK_INT(after_failure(NULL, "ws://0.0.0.0:9/", ECONNREFUSED), tries);
    CHECK_INT(after_failure(NULL, "ws://[::]:9/", ECONNREFUSED), tries);
    CHECK_INT(after_failure(NULL, "ws://[::ffff:127.0.0.1]:9/", ECONNREFUSED), tries);
    CHECK_INT(after_failure("http://127.0.0.1:9", "ws://192.0.2.1/", ECONNREFUSED), tries);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(entropy),
        TEST(receiving_and_sending),
        TEST(on_the_way),
        TEST(connecting),
        TEST(sockets),
        TEST(unsent_and_clock),
        TEST(waking),
        TEST(watching),
        TEST(interfaces),
        TEST(unreachable),
        TEST(offline),
        TEST(resolving),
        TEST(asking_the_system),
        TEST(zones),
        TEST(files),
        TEST(next_address),
        TEST(to_itself),
        TEST_ROWS(each_call_fails_once),
        TEST_ROWS(calls_fail_for_ever),
        TEST(byte_by_byte),
        TEST(idle_is_quiet),
        TEST(what_waited_is_cleared),
        TEST(waits_without_limit),
        TEST(offline_by_the_proxy),
        TEST(woken_from_a_wait),
        TEST(interrupted_wait),
        TEST(refusal_and_silence_are_quiet),
    };
    static const char *const names[] = {"/hosts", "/resolv.conf"};
    snprintf(files_at, sizeof files_at, P_tmpdir "/mtws-faults-XXXXXX");
    loopback_need(mkdtemp(files_at) != NULL, "mkdtemp");
    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        FILE *file = fopen(file_path(names[i]), "w");
        loopback_need(file != NULL, "a file");
        fputs("127.0.0.1 other.example\n", file);
        fclose(file);
    }
    faults_reset();
    int status = TEST_MAIN(tests, argc, argv);
    for (size_t i = 0; i < UNIT_COUNT(names); i++) unlink(file_path(names[i]));
    rmdir(files_at);
    return status;
}
