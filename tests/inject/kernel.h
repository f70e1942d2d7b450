/* A simulated system under MTWS_SYS, in virtual time: descriptors, TCP with a latency, poll, names,
 * interfaces, clocks, memory; and the faults that are put into its calls. It keeps count of all
 * that is opened, closed, allocated and freed, and of the calls in each second.
 *
 * It is included before mtws.h. What the far ends do is in server.h.
 */
#ifndef MTWS_INJECT_KERNEL_H_INCLUDED
#define MTWS_INJECT_KERNEL_H_INCLUDED

#define NEVER UINT64_MAX

/* ---- faults ---------------------------------------------------------------------------------- */

/* clang-format off */
typedef enum call {
    CLOCK, ENTROPY, SOCKET, OPTION, BIND, CONNECT, ASK, ENDS, POLL, RECV, SEND, NOTICE, IOCTL, SHUTDOWN,
    CLOSE, EVENTFD, OPEN, STAT, FILE_READ, QUESTION, ANSWER, READ, WRITE, RESOLVE, INTERFACES, MALLOC, NAP, CALLS
} call;
/* clang-format on */

static const char *const call_names[CALLS] = {"clock_gettime",
                                              "getrandom",
                                              "socket",
                                              "setsockopt",
                                              "bind",
                                              "connect",
                                              "getsockopt",
                                              "getsockname or getpeername",
                                              "poll",
                                              "recv",
                                              "send",
                                              "recv of netlink",
                                              "ioctl",
                                              "shutdown",
                                              "close",
                                              "eventfd",
                                              "open",
                                              "stat",
                                              "read of a file",
                                              "send to a name server",
                                              "recv from a name server",
                                              "read",
                                              "write",
                                              "getaddrinfo",
                                              "getifaddrs",
                                              "malloc",
                                              "nanosleep"};

typedef enum how {
    FAILS,  /* -1 and errno */
    BREAKS, /* the same, and the connection is gone */
    CUTS,   /* `value` bytes at most */
    SAYS,   /* the answer, or the events of poll, are `value`, whatever is true */
    LIES    /* FAILS, and poll goes on saying that the descriptor is ready */
} how;

typedef struct fault {
    call which;
    how how;
    int value;
    const char *name;
} fault;

#define F(which, how, value)                                                                       \
    { which, how, value, #how " " #value }

enum { NO_ANSWER = 1, EMPTY_LIST, OTHER_FAMILIES, NO_TIME };

static const fault faults[] = {
    F(CLOCK, FAILS, EINVAL),
    F(ENTROPY, FAILS, EINTR),
    F(ENTROPY, FAILS, EAGAIN),
    F(ENTROPY, FAILS, ENOSYS),
    F(ENTROPY, FAILS, EIO),
    F(ENTROPY, CUTS, 31),
    F(ENTROPY, CUTS, 0),
    F(SOCKET, FAILS, EMFILE),
    F(SOCKET, FAILS, ENFILE),
    F(SOCKET, FAILS, ENOBUFS),
    F(SOCKET, FAILS, ENOMEM),
    F(SOCKET, FAILS, EACCES),
    F(SOCKET, FAILS, EAFNOSUPPORT),
    F(SOCKET, FAILS, EPROTONOSUPPORT),
    F(OPTION, FAILS, ENOPROTOOPT),
    F(OPTION, FAILS, EINVAL),
    F(OPTION, FAILS, ENOMEM),
    F(BIND, FAILS, EPERM),
    F(BIND, FAILS, EADDRINUSE),
    F(BIND, FAILS, ENOMEM),
    F(CONNECT, FAILS, EINTR), /* and goes on by itself */
    F(CONNECT, FAILS, ECONNREFUSED),
    F(CONNECT, FAILS, ETIMEDOUT),
    F(CONNECT, FAILS, EHOSTUNREACH),
    F(CONNECT, FAILS, ENETUNREACH),
    F(CONNECT, FAILS, EADDRNOTAVAIL),
    F(CONNECT, FAILS, EADDRINUSE),
    F(CONNECT, FAILS, EACCES),
    F(CONNECT, FAILS, EPERM),
    F(CONNECT, FAILS, EAGAIN),
    F(CONNECT, FAILS, ENOBUFS),
    F(CONNECT, FAILS, ENOMEM),
    F(CONNECT, FAILS, ECONNRESET),
    F(CONNECT, FAILS, EIO),
    F(CONNECT, SAYS, 0), /* at once */
    F(CONNECT, SAYS, NO_ANSWER),
    F(ASK, FAILS, ENOBUFS),
    F(ASK, FAILS, EIO),
    F(ASK, SAYS, ECONNREFUSED),
    F(ASK, SAYS, ETIMEDOUT),
    F(ASK, SAYS, EHOSTUNREACH),
    F(ASK, SAYS, ENETUNREACH),
    F(ASK, SAYS, ECONNRESET),
    F(ASK, SAYS, EADDRNOTAVAIL),
    F(ASK, SAYS, EINPROGRESS),
    F(ENDS, FAILS, ENOBUFS),
    F(ENDS, FAILS, ENOTCONN),
    F(POLL, FAILS, EINTR),
    F(POLL, FAILS, EAGAIN),
    F(POLL, FAILS, ENOMEM),
    F(POLL, FAILS, EINVAL),
    F(POLL, SAYS, POLLHUP),
    F(POLL, SAYS, POLLERR),
    F(POLL, SAYS, POLLNVAL),
    F(POLL, SAYS, POLLIN),
    F(POLL, SAYS, POLLIN | POLLHUP | POLLERR),
    F(POLL, SAYS, 0), /* too early */
    F(RECV, FAILS, EINTR),
    F(RECV, FAILS, EAGAIN),
    F(RECV, LIES, EAGAIN),
    F(RECV, FAILS, ENOBUFS),
    F(RECV, FAILS, ENOMEM),
    F(RECV, BREAKS, ECONNRESET),
    F(RECV, BREAKS, ETIMEDOUT),
    F(RECV, BREAKS, EHOSTUNREACH),
    F(RECV, BREAKS, ENETUNREACH),
    F(RECV, BREAKS, ECONNREFUSED),
    F(RECV, BREAKS, EIO),
    F(RECV, BREAKS, 0), /* the end */
    F(RECV, CUTS, 1),
    F(SEND, FAILS, EINTR),
    F(SEND, FAILS, EAGAIN),
    F(SEND, LIES, EAGAIN),
    F(SEND, FAILS, ENOBUFS),
    F(SEND, FAILS, ENOMEM),
    F(SEND, FAILS, EACCES),
    F(SEND, BREAKS, EPIPE),
    F(SEND, BREAKS, ECONNRESET),
    F(SEND, BREAKS, ETIMEDOUT),
    F(SEND, BREAKS, EHOSTUNREACH),
    F(SEND, BREAKS, ENETUNREACH),
    F(SEND, BREAKS, EIO),
    F(SEND, CUTS, 1),
    F(NOTICE, FAILS, EINTR),
    F(NOTICE, FAILS, EAGAIN),
    F(NOTICE, FAILS, ENOBUFS), /* some were lost */
    F(NOTICE, FAILS, ENOMEM),
    F(NOTICE, LIES, EIO),
    F(IOCTL, FAILS, ENOTTY),
    F(IOCTL, FAILS, EIO),
    F(SHUTDOWN, FAILS, ENOTCONN),
    F(SHUTDOWN, FAILS, ENOBUFS),
    F(CLOSE, FAILS, EINTR),
    F(CLOSE, FAILS, EIO),
    F(EVENTFD, FAILS, EMFILE),
    F(EVENTFD, FAILS, ENFILE),
    F(EVENTFD, FAILS, ENODEV),
    F(EVENTFD, FAILS, ENOMEM),
    F(OPEN, FAILS, ENOENT),
    F(OPEN, FAILS, EACCES),
    F(OPEN, FAILS, EMFILE),
    F(OPEN, FAILS, ENFILE),
    F(OPEN, FAILS, ENOMEM),
    F(OPEN, FAILS, EINTR),
    F(STAT, FAILS, ENOENT),
    F(STAT, FAILS, EACCES),
    F(STAT, FAILS, ENOMEM),
    F(FILE_READ, FAILS, EINTR),
    F(FILE_READ, FAILS, EIO),
    F(FILE_READ, FAILS, EAGAIN),
    F(FILE_READ, CUTS, 1),
    F(FILE_READ, CUTS, 0),
    F(QUESTION, FAILS, EINTR),
    F(QUESTION, FAILS, EAGAIN),
    F(QUESTION, FAILS, ENOBUFS),
    F(QUESTION, FAILS, ENOMEM),
    F(QUESTION, FAILS, EPERM),
    F(QUESTION, FAILS, ENETUNREACH),
    F(QUESTION, FAILS, EHOSTUNREACH),
    F(QUESTION, FAILS, ECONNREFUSED),
    F(ANSWER, FAILS, EINTR),
    F(ANSWER, FAILS, EAGAIN),
    F(ANSWER, LIES, EAGAIN),
    F(ANSWER, FAILS, ECONNREFUSED),
    F(ANSWER, FAILS, EHOSTUNREACH),
    F(ANSWER, FAILS, ENOMEM),
    F(ANSWER, CUTS, 11), /* less than a header */
    F(ANSWER, CUTS, 40),
    F(READ, FAILS, EINTR),
    F(READ, FAILS, EAGAIN),
    F(READ, FAILS, EIO),
    F(WRITE, FAILS, EINTR),
    F(WRITE, FAILS, EAGAIN),
    F(WRITE, FAILS, EIO),
    F(RESOLVE, FAILS, EAI_AGAIN),
    F(RESOLVE, FAILS, EAI_FAIL),
    F(RESOLVE, FAILS, EAI_MEMORY),
    F(RESOLVE, FAILS, EAI_NONAME),
    F(RESOLVE, FAILS, EAI_FAMILY),
    F(RESOLVE, FAILS, EAI_SYSTEM),
    F(RESOLVE, SAYS, EMPTY_LIST),
    F(RESOLVE, SAYS, OTHER_FAMILIES),
    F(INTERFACES, FAILS, ENOMEM),
    F(INTERFACES, FAILS, EMFILE),
    F(INTERFACES, SAYS, EMPTY_LIST),
    F(MALLOC, FAILS, ENOMEM),
    F(NAP, FAILS, EINTR),
};

enum { FAULTS = sizeof faults / sizeof faults[0] };

/* ---- the system's state ---------------------------------------------------------------------- */

enum {
    LATENCY_US = 10000,
    CALL_US = 1,      /* each call takes so long, */
    SIGNAL_US = 1000, /* and a storm of signals interrupts one so often */
    FDS = 8192,       /* no number is used again, so that a second close of one shows */
    FD_BASE = 100,
    CONNS = 16, /* the latest ones */
    LANE_SIZE = 65536,
    CHUNKS = 64,
    LETTERS = 16,
    WINDOW_SIZE = 20000, /* bytes that the peer's system takes from us ahead of its program */
    SPIN_CALLS = 8000    /* in a second of virtual time are too many */
};

typedef enum fd_kind { FREE, STREAM, DATAGRAM, NETLINK, EVENT, PLAIN_FILE } fd_kind;
typedef enum stage { CONNECTING, REFUSED, UP, DEAD } stage;

typedef struct lane { /* one direction of a connection */
    uint8_t bytes[LANE_SIZE];
    size_t size, arrived; /* bytes in it; those that can be read */
    struct {
        uint64_t at_us;
        size_t size;
    } chunks[CHUNKS]; /* on their way */
    int count;
    bool ended; /* an end of stream follows the last byte */
} lane;

typedef struct conn {
    uint32_t serial; /* 0: none */
    stage stage;
    uint64_t decided_us; /* when connecting ends; NEVER: not at all */
    int error;           /* what then SO_ERROR says */
    bool reset;          /* the client's next call says ECONNRESET */
    lane out, in;        /* from the client, to the client */
    struct peer {        /* what the far end knows: server.h */
        int tunnel;      /* how far a proxy's client has come */
        bool upgraded, mute, closed;
        bool names;     /* it is the name server */
        bool fragments; /* a message is begun */
        size_t message_size;
        uint8_t message[LANE_SIZE / 2];
    } peer;
} conn;

typedef struct descriptor {
    fd_kind kind;
    uint32_t serial;  /* of its connection; 0: none yet */
    uint64_t count;   /* of an eventfd, or notices of a netlink socket; bytes read of a file */
    const char *text; /* of a file */
} descriptor;

typedef struct letter { /* a datagram to the client */
    int fd;             /* 0: none */
    uint64_t at_us;
    size_t size;
    uint8_t bytes[512];
} letter;

static struct kernel {
    uint64_t now_us;
    uint64_t entropy, chance;
    const fault *fault; /* NULL: nothing fails */
    unsigned from;      /* the first call that does, counted from 0 */
    bool ever;          /* all behind it too, until the cause is gone at heal_us */
    unsigned storm;     /* not 0: any call may fail, one in so many, with any of its errors */
    uint64_t heal_us;
    unsigned hits;
    unsigned counts[CALLS];
    uint64_t second_us; /* the second in which calls are counted */
    unsigned calls, most_calls;

    descriptor fds[FDS];
    int fd_count, fds_open;
    letter letters[LETTERS];
    conn conns[CONNS];
    uint32_t serial; /* of the latest connection */
    unsigned blocks, lists;
    bool net_down;
    size_t send_room; /* bytes that may be under way from the client */

    bool waits; /* poll may wait: the client is within mtws_poll with a timeout */
    bool trace;
    char violation[300];
    jmp_buf escape;
} sys;

static unsigned long long struck[FAULTS]; /* how often each fault did, in all runs */

/* Of server.h: bytes arrived at a server; the world's next doing, and it is done. */
static void peer_reads(conn *c);
static void peer_connects(conn *c, const struct sockaddr *address);
/* The name server's answer to a question, its size; 0: it is silent. */
static size_t name_answers(const uint8_t *question, size_t size, bool stream, uint8_t *out);
static uint64_t world_next_us(void);
static void world_acts(void);
/* Of program.h: the program wants something at that time, and ends a wait. False: it can't. */
static uint64_t program_next_us(void);
static bool program_wakes(void);

TEST_PRINTF(1, 2) static void trace(const char *format, ...) {
    va_list list;
    if (!sys.trace) return;
    printf("%9.3f ms  ", (double)sys.now_us / 1000.0);
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    putchar('\n');
}

/* Ends the run. */
TEST_PRINTF(1, 2) static void violate(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(sys.violation, sizeof sys.violation, format, list);
    va_end(list);
    longjmp(sys.escape, 1);
}

#define REQUIRE(condition, ...)                                                                    \
    do {                                                                                           \
        if (!(condition)) violate(__VA_ARGS__);                                                    \
    } while (0)

static int fails(int error) {
    errno = error;
    return -1;
}

static uint64_t draw(void) {
    sys.chance = sys.chance * 6364136223846793005u + 1442695040888963407u;
    return sys.chance >> 33;
}

/* One of the call's faults, now and then. */
static const fault *storm_strikes(call which) {
    const fault *found = NULL;
    uint64_t count = 0;
    if (sys.now_us >= sys.heal_us || draw() % sys.storm != 0) return NULL;
    for (int i = 0; i < FAULTS; i++) {
        if (faults[i].which == which && draw() % ++count == 0) found = &faults[i];
    }
    return found;
}

/* The planned fault, where it is this call's turn. */
static const fault *plan_strikes(call which, unsigned index) {
    const fault *f = sys.fault;
    if (f == NULL || f->which != which || index < sys.from) return NULL;
    return (sys.ever ? sys.now_us < sys.heal_us : index == sys.from) ? f : NULL;
}

/* Counts a call; gives the fault that strikes it, or NULL. */
static const fault *strikes(call which) {
    unsigned index = sys.counts[which]++;
    sys.now_us += CALL_US;
    if (sys.now_us - sys.second_us >= 1000000) {
        sys.second_us = sys.now_us;
        sys.calls = 0;
    }
    if (++sys.calls > sys.most_calls) sys.most_calls = sys.calls;
    bool crumbs = sys.fault != NULL && sys.fault->how == CUTS && sys.ever; /* a call a byte */
    REQUIRE(sys.calls <= SPIN_CALLS * (crumbs ? 15 : 1),
            "a spin: %u calls within a second, the last %s", sys.calls, call_names[which]);
    const fault *f = sys.storm > 0 ? storm_strikes(which) : plan_strikes(which, index);
    if (f == NULL) return NULL;
    sys.hits++;
    struck[f - faults]++;
    trace("%s %u: %s", call_names[which], index, f->name);
    if (f->how == FAILS && f->value == EINTR) sys.now_us += SIGNAL_US;
    return f;
}

/* Whether a fault that goes on keeps a descriptor from being ready. */
static bool hides(call which) {
    const fault *f = sys.fault;
    return f != NULL && f->which == which && f->how == FAILS && f->value == EAGAIN && sys.ever &&
           sys.counts[which] > sys.from && sys.now_us < sys.heal_us;
}

/* ---- the network ----------------------------------------------------------------------------- */

static conn *conn_of(uint32_t serial) { return &sys.conns[serial % CONNS]; }

static void lane_put(lane *l, const void *data, size_t size) {
    REQUIRE(size <= LANE_SIZE - l->size, "the test's network is full");
    memcpy(l->bytes + l->size, data, size);
    l->size += size;
    if (l->count == CHUNKS) l->count--, size += l->chunks[l->count].size;
    l->chunks[l->count].at_us = sys.now_us + LATENCY_US;
    l->chunks[l->count++].size = size;
}

static size_t lane_take(lane *l, void *out, size_t size) {
    if (size > l->arrived) size = l->arrived;
    memcpy(out, l->bytes, size);
    memmove(l->bytes, l->bytes + size, l->size - size);
    l->size -= size;
    l->arrived -= size;
    return size;
}

/* An end of stream travels as an empty chunk. */
static void lane_end(lane *l) {
    if (!l->ended) lane_put(l, "", 0);
    l->ended = true;
}

static bool lane_at_end(const lane *l) { return l->ended && l->count == 0 && l->arrived == 0; }

static bool lane_arrives(lane *l) {
    bool any = false;
    while (l->count > 0 && l->chunks[0].at_us <= sys.now_us) {
        l->arrived += l->chunks[0].size;
        l->count--;
        memmove(l->chunks, l->chunks + 1, (size_t)l->count * sizeof l->chunks[0]);
        any = true;
    }
    return any;
}

/* When something arrives next, or the world does something. */
static uint64_t kernel_next_us(void) {
    uint64_t next = world_next_us();
    for (int i = 0; i < LETTERS && !sys.net_down; i++) {
        const letter *l = &sys.letters[i];
        if (l->fd != 0 && l->at_us > sys.now_us && l->at_us < next) next = l->at_us;
    }
    for (int i = 0; i < CONNS && !sys.net_down; i++) {
        const conn *c = &sys.conns[i];
        if (c->serial == 0 || c->stage == DEAD) continue;
        if (c->stage == CONNECTING && c->decided_us < next) next = c->decided_us;
        if (c->out.count > 0 && c->out.chunks[0].at_us < next) next = c->out.chunks[0].at_us;
        if (c->in.count > 0 && c->in.chunks[0].at_us < next) next = c->in.chunks[0].at_us;
    }
    return next;
}

/* Lets time pass until `at_us`, and everything happen that is due. */
static void kernel_run(uint64_t at_us) {
    for (;;) {
        uint64_t next = kernel_next_us();
        if (next > at_us) break;
        if (next > sys.now_us) sys.now_us = next;
        if (world_next_us() <= sys.now_us) world_acts();
        for (int i = 0; i < CONNS && !sys.net_down; i++) {
            conn *c = &sys.conns[i];
            if (c->serial == 0 || c->stage == DEAD) continue;
            if (c->stage == CONNECTING && c->decided_us <= sys.now_us) {
                c->stage = c->error == 0 ? UP : REFUSED;
            }
            lane_arrives(&c->in);
            if (lane_arrives(&c->out)) peer_reads(c);
        }
    }
    if (at_us > sys.now_us) sys.now_us = at_us;
}

/* The connection is gone, for both ends. */
static void conn_break(conn *c) {
    c->stage = DEAD;
    c->reset = false;
}

/* The server's machine ends it with a reset. */
static void conn_reset(conn *c) {
    if (c->serial == 0 || c->stage == DEAD) return;
    trace("connection %u is reset", c->serial);
    conn_break(c);
    c->reset = true;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static int fd_open(fd_kind what) {
    REQUIRE(sys.fd_count < FDS, "%d descriptors were opened", FDS);
    descriptor *d = &sys.fds[sys.fd_count];
    memset(d, 0, sizeof *d);
    d->kind = what;
    sys.fds_open++;
    REQUIRE(sys.fds_open < 12, "%d descriptors are open: they leak", sys.fds_open);
    return FD_BASE + sys.fd_count++;
}

static descriptor *fd_look(int fd, fd_kind what) {
    REQUIRE(fd >= FD_BASE && fd < FD_BASE + sys.fd_count, "no descriptor has the number %d", fd);
    descriptor *d = &sys.fds[fd - FD_BASE];
    REQUIRE(d->kind != FREE, "descriptor %d is not open any more", fd);
    REQUIRE(what == FREE || d->kind == what, "descriptor %d is of kind %d", fd, d->kind);
    return d;
}

static conn *fd_conn(int fd) {
    const descriptor *d = fd_look(fd, STREAM);
    conn *c = conn_of(d->serial);
    REQUIRE(d->serial != 0 && c->serial == d->serial, "descriptor %d was not connected", fd);
    return c;
}

static size_t send_room(const conn *c) {
    size_t flying = c->out.size - c->out.arrived;
    size_t room = sys.send_room > flying ? sys.send_room - flying : 0;
    size_t window = c->out.size < WINDOW_SIZE ? WINDOW_SIZE - c->out.size : 0;
    return room < window ? room : window;
}

/* The first datagram that has arrived there, or NULL. */
static letter *letter_at(int fd) {
    for (int i = 0; i < LETTERS && !sys.net_down; i++) {
        if (sys.letters[i].fd == fd && sys.letters[i].at_us <= sys.now_us) return &sys.letters[i];
    }
    return NULL;
}

/* What poll would say; POLLHUP and POLLERR unasked. */
static short fd_events(int fd) {
    const descriptor *d = fd_look(fd, FREE);
    if (d->kind == EVENT) return d->count > 0 && !hides(READ) ? POLLIN : 0;
    if (d->kind == DATAGRAM) return letter_at(fd) != NULL && !hides(ANSWER) ? POLLIN : 0;
    if (d->kind == NETLINK) return d->count > 0 && !hides(NOTICE) ? POLLIN : 0;
    const conn *c = conn_of(d->serial);
    if (d->serial == 0 || c->serial != d->serial) return POLLHUP;
    if (c->stage == CONNECTING) return 0;
    if (c->stage == REFUSED) return POLLOUT | POLLERR | POLLHUP;
    if (c->stage == DEAD && hides(RECV)) return 0;
    if (c->stage == DEAD) return POLLIN | POLLOUT | POLLHUP | (c->reset ? POLLERR : 0);
    bool in = (c->in.arrived > 0 || lane_at_end(&c->in)) && !hides(RECV);
    bool out = send_room(c) >= sys.send_room / 3 && !hides(SEND);
    return (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0));
}

static int fds_ready(struct pollfd *fds, nfds_t count) {
    int ready = 0;
    for (nfds_t i = 0; i < count; i++) {
        fds[i].revents = (short)(fd_events(fds[i].fd) & (fds[i].events | POLLERR | POLLHUP));
        ready += fds[i].revents != 0;
    }
    return ready;
}

/* ---- the calls ------------------------------------------------------------------------------- */

static int inject_clock_gettime(clockid_t id, struct timespec *out) {
    /* Of these only the clock that counts sleep may be missing. */
    if (id == CLOCK_BOOTTIME && strikes(CLOCK) != NULL) return fails(EINVAL);
    out->tv_sec = (time_t)(sys.now_us / 1000000);
    out->tv_nsec = (long)(sys.now_us % 1000000 * 1000);
    return 0;
}

static ssize_t inject_getrandom(void *out, size_t size, unsigned flags) {
    (void)flags;
    const fault *f = strikes(ENTROPY);
    if (f != NULL && f->how == FAILS) return fails(f->value);
    if (f != NULL && (size_t)f->value < size) size = (size_t)f->value;
    for (size_t i = 0; i < size; i++) {
        sys.entropy = sys.entropy * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)out)[i] = (uint8_t)(sys.entropy >> 56);
    }
    return (ssize_t)size;
}

static int inject_socket(int family, int type, int protocol) {
    (void)protocol;
    const fault *f = strikes(SOCKET);
    if (f != NULL) return fails(f->value);
    REQUIRE((type & SOCK_CLOEXEC) != 0, "a socket that exec keeps");
    if (family == AF_NETLINK) return fd_open(NETLINK);
    if ((type & SOCK_DGRAM) == SOCK_DGRAM) return fd_open(DATAGRAM);
    REQUIRE((type & SOCK_NONBLOCK) != 0, "a socket that blocks");
    return fd_open(STREAM);
}

static int inject_setsockopt(int fd, int level, int name, const void *value, socklen_t size) {
    (void)level, (void)name, (void)value, (void)size;
    const fault *f = strikes(OPTION);
    fd_look(fd, STREAM);
    return f != NULL ? fails(f->value) : 0;
}

static int inject_bind(int fd, const struct sockaddr *address, socklen_t size) {
    (void)address, (void)size;
    const fault *f = strikes(BIND);
    fd_look(fd, NETLINK);
    return f != NULL ? fails(f->value) : 0;
}

static int inject_connect(int fd, const struct sockaddr *address, socklen_t size) {
    const fault *f = strikes(CONNECT);
    descriptor *d = fd_look(fd, FREE);
    REQUIRE(size >= sizeof(struct sockaddr_in), "an address of %d bytes", (int)size);
    if (d->kind == DATAGRAM) {
        /* It has nothing to wait for, so no signal interrupts it. */
        if (f != NULL && f->how == FAILS && f->value != EINTR) return fails(f->value);
        return sys.net_down ? fails(ENETUNREACH) : 0;
    }
    REQUIRE(d->kind == STREAM && d->serial == 0, "a second connect of %d", fd);
    if (f != NULL && f->how == FAILS && f->value != EINTR) return fails(f->value);
    if (sys.net_down) return fails(ENETUNREACH);
    d->serial = ++sys.serial;
    conn *c = conn_of(d->serial);
    memset(c, 0, offsetof(conn, peer.message));
    memset(&c->peer, 0, offsetof(struct peer, message));
    c->serial = d->serial;
    c->decided_us = sys.now_us + LATENCY_US;
    peer_connects(c, address);
    trace("connection %u begins, descriptor %d", c->serial, fd);
    if (f != NULL && f->how == SAYS && f->value == NO_ANSWER) c->decided_us = NEVER;
    if (f != NULL && f->how == SAYS && f->value == 0) {
        if (c->decided_us == NEVER || c->error != 0) return fails(ECONNREFUSED);
        c->stage = UP;
        return 0;
    }
    return fails(f != NULL && f->how == FAILS ? EINTR : EINPROGRESS);
}

static int inject_getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
    const fault *f = strikes(ASK);
    conn *c = fd_conn(fd);
    REQUIRE(level == SOL_SOCKET && name == SO_ERROR && *size == sizeof(int), "getsockopt %d", name);
    if (f != NULL && f->how == FAILS) return fails(f->value);
    if (f != NULL && f->value != EINPROGRESS) conn_break(c);
    int error = f != NULL ? f->value : c->stage == REFUSED ? c->error : 0;
    memcpy(value, &error, sizeof error);
    return 0;
}

static int inject_getsockname(int fd, struct sockaddr *address, socklen_t *size) {
    const fault *f = strikes(ENDS);
    (void)address;
    fd_conn(fd);
    *size = 1; /* only the ends' being different ones matters */
    return f != NULL ? fails(f->value) : 0;
}

static int inject_getpeername(int fd, struct sockaddr *address, socklen_t *size) {
    const fault *f = strikes(ENDS);
    (void)address;
    fd_conn(fd);
    *size = 2;
    return f != NULL ? fails(f->value) : 0;
}

/* A read or write before the connection is there. Only a poll that lies, or an answer that says so,
 * can lead to it. */
static int early(int fd) {
    call which = sys.fault == NULL ? CALLS : sys.fault->which;
    bool caused = sys.storm > 0 || which == POLL || which == ASK || which == CONNECT;
    REQUIRE(sys.hits > 0 && caused, "a read or write of %d before the connection is there", fd);
    return fails(EAGAIN);
}

/* A notice of the network's change; one that is lost is not there any more. */
static ssize_t notice_recv(descriptor *d, size_t size) {
    const fault *f = strikes(NOTICE);
    if (f == NULL && d->count == 0) return fails(EAGAIN);
    bool stays = f != NULL && (f->how == LIES || f->value == EAGAIN || f->value == EINTR);
    if (!stays && d->count > 0) d->count--;
    if (f != NULL) return fails(f->value);
    return size < 16 ? (ssize_t)size : 16;
}

/* A datagram of the name server's. */
static ssize_t letter_recv(int fd, void *out, size_t size) {
    const fault *f = strikes(ANSWER);
    letter *l = letter_at(fd);
    if (f != NULL && f->how != CUTS) return fails(f->value);
    if (l == NULL) return fails(EAGAIN);
    if (size > l->size) size = l->size;
    if (f != NULL && size > (size_t)f->value) size = (size_t)f->value;
    memcpy(out, l->bytes, size);
    l->fd = 0;
    return (ssize_t)size;
}

/* A question to the name server, which answers at once. */
static ssize_t letter_send(int fd, const void *data, size_t size) {
    const fault *f = strikes(QUESTION);
    letter *l = sys.letters;
    if (f != NULL) return fails(f->value);
    while (l < sys.letters + LETTERS && l->fd != 0) l++;
    REQUIRE(l < sys.letters + LETTERS, "more answers wait than the test has room for");
    l->size = name_answers((const uint8_t *)data, size, false, l->bytes);
    l->fd = l->size > 0 ? fd : 0;
    l->at_us = sys.now_us + LATENCY_US;
    return (ssize_t)size;
}

static ssize_t inject_recv(int fd, void *out, size_t size, int flags) {
    (void)flags;
    REQUIRE(size > 0, "a read of nothing");
    if (fd_look(fd, FREE)->kind == DATAGRAM) return letter_recv(fd, out, size);
    if (fd_look(fd, FREE)->kind == NETLINK) return notice_recv(fd_look(fd, NETLINK), size);
    const fault *f = strikes(RECV);
    conn *c = fd_conn(fd);
    if (c->stage == REFUSED) return fails(c->error);
    if (c->stage == CONNECTING) return early(fd);
    if (f != NULL && f->how == BREAKS) {
        conn_break(c);
        return f->value == 0 ? 0 : fails(f->value);
    }
    if (f != NULL && f->how != CUTS) return fails(f->value);
    if (c->reset) {
        c->reset = false;
        return fails(ECONNRESET);
    }
    if (c->stage == DEAD || lane_at_end(&c->in)) return 0;
    if (c->in.arrived == 0) return fails(EAGAIN);
    return (ssize_t)lane_take(&c->in, out, f != NULL ? 1 : size);
}

static ssize_t inject_send(int fd, const void *data, size_t size, int flags) {
    if (fd_look(fd, FREE)->kind == DATAGRAM) return letter_send(fd, data, size);
    const fault *f = strikes(SEND);
    conn *c = fd_conn(fd);
    REQUIRE((flags & MSG_NOSIGNAL) != 0, "a send that may raise SIGPIPE");
    if (c->stage == REFUSED) return fails(c->error);
    if (c->stage == CONNECTING) return early(fd);
    REQUIRE(size > 0 && !c->out.ended, "a write out of place");
    if (f != NULL && f->how == BREAKS) conn_break(c);
    if (f != NULL && f->how != CUTS) return fails(f->value);
    if (c->stage == DEAD) {
        bool reset = c->reset;
        c->reset = false;
        return fails(reset ? ECONNRESET : EPIPE);
    }
    size_t room = send_room(c);
    if (room == 0) return fails(EAGAIN);
    if (size > room) size = room;
    if (f != NULL && size > (size_t)f->value) size = (size_t)f->value;
    lane_put(&c->out, data, size);
    return (ssize_t)size;
}

static int inject_ioctl(int fd, unsigned long request, int *out) {
    const fault *f = strikes(IOCTL);
    const conn *c = fd_conn(fd);
    REQUIRE(request == TIOCOUTQ, "ioctl %lu", request);
    if (f != NULL) return fails(f->value);
    *out = (int)(c->out.size - c->out.arrived);
    return 0;
}

static int inject_shutdown(int fd, int direction) {
    const fault *f = strikes(SHUTDOWN);
    const descriptor *d = fd_look(fd, FREE);
    if (f != NULL) return fails(f->value);
    if (d->kind == DATAGRAM) return 0;
    REQUIRE(d->kind == STREAM, "a shutdown of descriptor %d", fd);
    conn *c = conn_of(d->serial);
    if (d->serial == 0 || c->serial != d->serial || c->stage == DEAD) return fails(ENOTCONN);
    if (c->stage != UP) {
        conn_break(c);
        return 0;
    }
    lane_end(&c->out);
    if (direction == SHUT_RDWR) lane_end(&c->in);
    return 0;
}

static int inject_close(int fd) {
    const fault *f = strikes(CLOSE);
    descriptor *d = fd_look(fd, FREE);
    conn *c = conn_of(d->serial);
    if (d->kind == STREAM && d->serial != 0 && c->serial == d->serial && c->stage != DEAD) {
        if (c->stage == UP && c->in.arrived == 0) lane_end(&c->out); /* a FIN, else a reset */
        else conn_break(c);
    }
    for (int i = 0; i < LETTERS; i++) {
        if (sys.letters[i].fd == fd) sys.letters[i].fd = 0;
    }
    d->kind = FREE;
    sys.fds_open--;
    return f != NULL ? fails(f->value) : 0;
}

static int inject_eventfd(unsigned count, int flags) {
    const fault *f = strikes(EVENTFD);
    REQUIRE((flags & EFD_CLOEXEC) != 0 && (flags & EFD_NONBLOCK) != 0, "an eventfd that blocks");
    if (f != NULL) return fails(f->value);
    int fd = fd_open(EVENT);
    sys.fds[fd - FD_BASE].count = count;
    return fd;
}

/* ---- files ----------------------------------------------------------------------------------- */

static const char hosts_text[] =
    "127.0.0.1 localhost\n10.0.0.1\tlisted.example listed # a server\n";
static const char resolv_text[] =
    "# of a test\nnameserver 10.0.0.53\noptions timeout:1 attempts:2\n";

static const char *file_text(const char *path) {
    if (strcmp(path, "/etc/hosts") == 0) return hosts_text;
    REQUIRE(strcmp(path, "/etc/resolv.conf") == 0, "the file %s is asked for", path);
    return resolv_text;
}

static int inject_open(const char *path, int flags) {
    const fault *f = strikes(OPEN);
    const char *text = file_text(path);
    REQUIRE((flags & O_CLOEXEC) != 0, "a file that exec keeps");
    if (f != NULL) return fails(f->value);
    int fd = fd_open(PLAIN_FILE);
    sys.fds[fd - FD_BASE].text = text;
    return fd;
}

static int inject_stat(const char *path, struct stat *out) {
    const fault *f = strikes(STAT);
    const char *text = file_text(path);
    if (f != NULL) return fails(f->value);
    memset(out, 0, sizeof *out);
    out->st_size = (off_t)strlen(text);
    out->st_ino = 7;
    return 0;
}

static ssize_t file_read(descriptor *d, void *out, size_t size) {
    const fault *f = strikes(FILE_READ);
    size_t left = strlen(d->text) - (size_t)d->count;
    if (f != NULL && f->how == FAILS) return fails(f->value);
    if (size > left) size = left;
    if (f != NULL && size > (size_t)f->value) size = (size_t)f->value;
    memcpy(out, d->text + d->count, size);
    d->count += size;
    return (ssize_t)size;
}

static ssize_t inject_read(int fd, void *out, size_t size) {
    if (fd_look(fd, FREE)->kind == PLAIN_FILE) return file_read(fd_look(fd, PLAIN_FILE), out, size);
    const fault *f = strikes(READ);
    descriptor *d = fd_look(fd, EVENT);
    REQUIRE(size >= sizeof d->count, "a read of %d bytes", (int)size);
    if (f != NULL) return fails(f->value);
    if (d->count == 0) return fails(EAGAIN);
    memcpy(out, &d->count, sizeof d->count);
    d->count = 0;
    return (ssize_t)sizeof d->count;
}

static ssize_t inject_write(int fd, const void *data, size_t size) {
    const fault *f = strikes(WRITE);
    descriptor *d = fd_look(fd, EVENT);
    uint64_t one;
    REQUIRE(size == sizeof one, "a write of %d bytes", (int)size);
    if (f != NULL) return fails(f->value);
    memcpy(&one, data, sizeof one);
    d->count += one;
    return (ssize_t)size;
}

/* Names are "one.example" or "two.example", after how many addresses they have. */
static int inject_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                              struct addrinfo **out) {
    (void)service, (void)hints;
    const fault *f = strikes(RESOLVE);
    *out = NULL;
    if (f != NULL && f->how == FAILS) {
        errno = EMFILE; /* for EAI_SYSTEM */
        return f->value;
    }
    if (sys.net_down) return EAI_AGAIN;
    if (f != NULL && f->value == EMPTY_LIST) return 0;
    int count = strncmp(host, "two", 3) == 0 ? 2 : 1;
    for (int i = count; i > 0; i--) {
        struct {
            struct addrinfo info;
            struct sockaddr_in address;
        } *node = calloc(1, sizeof *node);
        REQUIRE(node != NULL, "the test has no memory");
        node->address.sin_family = AF_INET;
        node->address.sin_addr.s_addr = htonl(0x0a000000u + (uint32_t)i);
        node->info.ai_family = f != NULL ? AF_UNIX : AF_INET;
        node->info.ai_addrlen = sizeof node->address;
        node->info.ai_addr = (struct sockaddr *)(void *)&node->address;
        node->info.ai_next = *out;
        *out = &node->info;
    }
    sys.lists++;
    return 0;
}

static void inject_freeaddrinfo(struct addrinfo *list) {
    if (list == NULL) return;
    sys.lists--;
    while (list != NULL) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

static unsigned inject_if_nametoindex(const char *name) {
    violate("if_nametoindex of %s", name);
    return 0;
}

static int inject_getifaddrs(struct ifaddrs **out) {
    const fault *f = strikes(INTERFACES);
    if (f != NULL && f->how == FAILS) return fails(f->value);
    *out = NULL;
    sys.lists++;
    struct {
        struct ifaddrs list[2];
        struct sockaddr_in address;
    } *node = calloc(1, sizeof *node);
    REQUIRE(node != NULL, "the test has no memory");
    node->address.sin_family = AF_INET;
    for (int i = 0; i < 2; i++) {
        node->list[i].ifa_addr = (struct sockaddr *)(void *)&node->address;
        node->list[i].ifa_flags = IFF_UP | IFF_RUNNING | (i == 0 ? IFF_LOOPBACK : 0u);
    }
    bool lone = sys.net_down || f != NULL;
    node->list[0].ifa_next = lone ? NULL : &node->list[1];
    *out = node->list;
    return 0;
}

static void inject_freeifaddrs(struct ifaddrs *list) {
    if (list == NULL) return;
    sys.lists--;
    free(list);
}

static char *inject_getenv(const char *name) {
    (void)name;
    return NULL;
}

static void *inject_malloc(size_t size) {
    const fault *f = strikes(MALLOC);
    if (f != NULL) return NULL;
    sys.blocks++;
    return malloc(size);
}

static void inject_free(void *block) {
    sys.blocks--;
    free(block);
}

/* Time passes, and the world goes on; the program ends a wait by mtws_wake or a signal. */
static int inject_poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    const fault *f = strikes(POLL);
    REQUIRE(sys.waits || timeout_ms == 0, "mtws_poll waits, with a timeout of 0");
    if (f != NULL && f->how == FAILS) return fails(f->value);
    if (f != NULL && f->value == 0) return 0;
    if (f != NULL && count > 0) {
        for (nfds_t i = 0; i < count; i++) fds[i].revents = (short)f->value;
        return (int)count;
    }
    uint64_t limit = timeout_ms < 0 ? NEVER : sys.now_us + (uint64_t)timeout_ms * 1000;
    for (;;) {
        int ready = fds_ready(fds, count);
        if (ready > 0 || sys.now_us >= limit) return ready;
        uint64_t next = kernel_next_us(), wanted = program_next_us();
        if (wanted < next) next = wanted;
        if (limit < next) next = limit;
        REQUIRE(next != NEVER, "nothing will ever happen any more");
        kernel_run(next);
        if (wanted <= sys.now_us && !program_wakes()) return fails(EINTR);
    }
}

static int inject_nanosleep(const struct timespec *time, struct timespec *left) {
    (void)left;
    const fault *f = strikes(NAP);
    REQUIRE(sys.waits, "mtws_poll sleeps, with a timeout of 0");
    if (f != NULL) return fails(f->value);
    kernel_run(sys.now_us + (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_nsec / 1000);
    return 0;
}

#define MTWS_SYS(name) inject_##name
#define MTWS_MALLOC(size) inject_malloc(size)
#define MTWS_FREE(p) inject_free(p)

#endif
