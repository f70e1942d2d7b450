/* The simulated system: sockets, descriptors, poll, clocks, names and interfaces, for runs over the
 * client's own TCP, and for programs that wait within mtws_poll.
 */
#ifndef MTWS_SIM_NATIVE_H_INCLUDED
#define MTWS_SIM_NATIVE_H_INCLUDED

static int sys_fail(int error)
{
    errno = error;
    return -1;
}

/* A signal handler ran; even in a storm a call comes through now and then. */
static bool interrupted(void)
{
    sim.interrupts = sim.interrupts < 8 && strikes(T_EINTR) ? sim.interrupts + 1 : 0;
    return sim.interrupts > 0;
}

static descriptor *sys_descriptor(int fd, int kind)
{
    REQUIRE(fd >= FD_BASE && fd < FD_BASE + FDS_MAX, "descriptor",
            "no descriptor has the number %d", fd);
    descriptor *d = &sim.fds[fd - FD_BASE];
    REQUIRE(d->kind != FD_FREE, "descriptor", "descriptor %d is not open", fd);
    REQUIRE(kind == FD_FREE || d->kind == kind, "descriptor", "descriptor %d is of kind %d", fd,
            d->kind);
    return d;
}

static conn *sys_conn(int fd)
{
    const descriptor *d = sys_descriptor(fd, FD_STREAM);
    conn *c = conn_of(d->serial);
    REQUIRE(d->serial != 0 && c->serial == d->serial, "descriptor",
            "descriptor %d was not connected", fd);
    return c;
}

/* The lowest free number, as systems give them: numbers are used again at once. */
static int sys_open(int kind)
{
    for (int i = 0; i < FDS_MAX; i++) {
        if (sim.fds[i].kind == FD_FREE) {
            sim.fds[i].kind = (uint8_t)kind;
            sim.fds[i].opened++;
            sim.fds[i].serial = 0;
            sim.fds[i].count = sim.fds[i].left_poll = 0;
            memset(sim.fds[i].answers, 0, sizeof sim.fds[i].answers);
            return FD_BASE + i;
        }
    }
    violate("descriptor", "%d descriptors are open: they leak", FDS_MAX);
    return -1;
}

/* ---- clocks and random numbers --------------------------------------------------------------- */

static int sim_sys_clock_gettime(clockid_t id, struct timespec *out)
{
    uint64_t us = id == CLOCK_REALTIME ? (uint64_t)wall_clock_ms() * 1000 : sim.now_us;
    out->tv_sec = (time_t)(us / 1000000);
    out->tv_nsec = (long)(us % 1000000 * 1000);
    return 0;
}

static ssize_t sim_sys_getrandom(void *out, size_t size, unsigned flags)
{
    (void)flags;
    if (interrupted()) {
        return sys_fail(EINTR);
    }
    return hook_fill(NULL, out, size) ? (ssize_t)size : sys_fail(ENOSYS);
}

/* ---- names and interfaces -------------------------------------------------------------------- */

static int sim_sys_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                               struct addrinfo **out)
{
    (void)service;
    (void)hints;
    (void)out;
    violate("names", "getaddrinfo of %s", host);
    return EAI_FAIL;
}

static void sim_sys_freeaddrinfo(struct addrinfo *list)
{
    (void)list;
}

static unsigned sim_sys_if_nametoindex(const char *name)
{
    (void)name;
    return 1;
}

/* That hosts is opened is the first that an attempt does. */
static int sim_sys_open(const char *path, int flags)
{
    bool hosts = strcmp(path, "/etc/hosts") == 0;
    REQUIRE(hosts || strcmp(path, "/etc/resolv.conf") == 0, "names", "%s is opened", path);
    REQUIRE((flags & O_CLOEXEC) != 0 && (flags & O_NONBLOCK) != 0, "descriptor", "open of %s",
            path);
    if (hosts) {
        attempt_starts();
        sim.attempting = true;
    }
    if (hosts && strikes(T_SYS_ERRORS)) {
        return sys_fail(EMFILE); /* as if the file were not there */
    }
    int fd = sys_open(FD_FILE);
    sim.fds[fd - FD_BASE].is_hosts = hosts;
    return fd;
}

static int sim_sys_stat(const char *path, struct stat *out)
{
    REQUIRE(strcmp(path, "/etc/resolv.conf") == 0, "names", "stat of %s", path);
    memset(out, 0, sizeof *out);
    out->st_size = (off_t)strlen(file_text(false));
    out->st_ino = 4711;
    return 0;
}

static ssize_t file_read(descriptor *d, void *out, size_t size)
{
    const char *text = file_text(d->is_hosts);
    size_t left = strlen(text) - (size_t)d->count;
    if (interrupted()) {
        return sys_fail(EINTR);
    }
    size = size < left ? size : left;
    memcpy(out, text + d->count, size);
    d->count += size;
    sim.progress++;
    return (ssize_t)size;
}

static int sim_sys_getifaddrs(struct ifaddrs **out)
{
    static struct ifaddrs list[2];
    static struct sockaddr_in address;
    memset(list, 0, sizeof list);
    address.sin_family = AF_INET;
    for (int i = 0; i < 2; i++) {
        list[i].ifa_addr = (struct sockaddr *)(void *)&address;
        list[i].ifa_flags = IFF_UP | IFF_RUNNING | (i == 0 ? IFF_LOOPBACK : 0u);
    }
    list[0].ifa_next = sim.interfaces_down ? NULL : &list[1];
    *out = list;
    return 0;
}

static void sim_sys_freeifaddrs(struct ifaddrs *list)
{
    (void)list;
}

/* Programs of the simulated world have an empty environment. */
static char *sim_sys_getenv(const char *name)
{
    (void)name;
    return NULL;
}

/* ---- sockets --------------------------------------------------------------------------------- */

static int sim_sys_socket(int family, int type, int protocol)
{
    (void)protocol;
    bool stream = family != AF_NETLINK && (type & SOCK_STREAM) != 0 && (type & SOCK_DGRAM) == 0;
    REQUIRE((type & SOCK_CLOEXEC) != 0, "descriptor", "a descriptor that exec keeps");
    if (family != AF_NETLINK && strikes(T_SYS_ERRORS)) {
        allow_attempt(stream ? MTWS_ERR_CONNECT : MTWS_ERR_RESOLVE);
        return sys_fail(EMFILE);
    }
    int fd = sys_open(family == AF_NETLINK ? FD_NETLINK : stream ? FD_STREAM : FD_DATAGRAM);
    if (family == AF_NETLINK) {
        sim.watched = true;
    }
    return fd;
}

static int sim_sys_bind(int fd, const struct sockaddr *address, socklen_t size)
{
    (void)address;
    (void)size;
    sys_descriptor(fd, FD_NETLINK);
    return 0;
}

/* A stream to where nobody is. */
static int connect_dead(descriptor *d, bool six)
{
    d->kind = FD_DEAD;
    d->refused_us = NEVER;
    allow_attempt(MTWS_ERR_CONNECT);
    if (six && sim.open_port % 5 == 4) {
        return sys_fail(ENETUNREACH);
    }
    if (sim.open_port % 5 == 3) {
        d->refused_us = sim.now_us + 2 * sim.plan.latency_us;
        plan_event(d->refused_us, EV_SOCKET, 0, 0);
    } else {
        allow_attempt(MTWS_ERR_TIMEOUT);
    }
    return sys_fail(EINPROGRESS);
}

static int sim_sys_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    (void)size;
    descriptor *d = sys_descriptor(fd, FD_FREE);
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
    bool six = address->sa_family == AF_INET6;
    if (d->kind == FD_DATAGRAM && sim.interfaces_down) {
        allow_attempt(MTWS_ERR_RESOLVE);
        return sys_fail(ENETUNREACH);
    }
    if (d->kind == FD_DATAGRAM) {
        return 0;
    }
    REQUIRE(d->kind == FD_STREAM && d->serial == 0, "descriptor", "a second connect of %d", fd);
    if (six || in->sin_addr.s_addr != htonl(REAL_IP)) {
        return connect_dead(d, six);
    }
    REQUIRE(!conn_held(conn_now()), "descriptor", "two connections at a time");
    conn *c = conn_start();
    d->serial = c->serial;
    if (sim.interfaces_down) {
        allow_attempt(MTWS_ERR_CONNECT);
        return sys_fail(ENETUNREACH);
    }
    conn_decide(c);
    trace(TRACE_OPEN, c->serial, (uint64_t)fd, 0);
    return sys_fail(interrupted() ? EINTR : EINPROGRESS);
}

static int sim_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    (void)level;
    (void)name;
    (void)value;
    (void)size;
    sys_descriptor(fd, FD_STREAM);
    return 0;
}

/* Only the ends' being different ones matters. */
static int sim_sys_getsockname(int fd, struct sockaddr *out, socklen_t *size)
{
    (void)out;
    sys_conn(fd);
    *size = 1;
    return 0;
}

static int sim_sys_getpeername(int fd, struct sockaddr *out, socklen_t *size)
{
    (void)out;
    sys_conn(fd);
    *size = 2;
    return 0;
}

static int sim_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    int error = ECONNREFUSED;
    if (sys_descriptor(fd, FD_FREE)->kind == FD_DEAD) {
        memcpy(value, &error, sizeof error);
        return 0;
    }
    conn *c = sys_conn(fd);
    error = 0;
    REQUIRE(level == SOL_SOCKET && name == SO_ERROR && *size == sizeof error, "descriptor",
            "getsockopt of %d", name);
    if (c->stage == STAGE_REFUSED) {
        error = ECONNREFUSED;
    } else if (c->connect_done) {
        c->connect_done = false;
        c->stage = STAGE_UP;
        sim.progress++;
    }
    memcpy(value, &error, sizeof error);
    return 0;
}

static ssize_t datagram_read(descriptor *d, void *out, size_t size)
{
    name_answer *a = names_ready(d);
    if (a == NULL) {
        return sys_fail(EAGAIN);
    }
    REQUIRE(size >= a->size, "names", "no room for an answer of %u bytes", a->size);
    memcpy(out, a->data, a->size);
    a->at_us = 0;
    sim.progress++;
    return (ssize_t)a->size;
}

static ssize_t sim_sys_recv(int fd, void *out, size_t size, int flags)
{
    (void)flags;
    descriptor *d = sys_descriptor(fd, FD_FREE);
    REQUIRE(++sim.reads <= READS_MAX, "work", "%u reads in one poll", sim.reads);
    if (interrupted()) {
        return sys_fail(EINTR);
    }
    if (d->kind == FD_NETLINK) {
        bool lost = d->count > 0 && strikes(T_SYS_ERRORS);
        uint64_t waits = d->count;
        d->count -= waits > 0;
        sim.progress += waits > 0;
        return lost ? sys_fail(ENOBUFS) : waits > 0 ? 16 : sys_fail(EAGAIN);
    }
    if (d->kind == FD_DATAGRAM) {
        return datagram_read(d, out, size);
    }
    conn *c = sys_conn(fd);
    REQUIRE(c->stage == STAGE_UP && size > 0, "transport", "a read out of place");
    ptrdiff_t got = conn_read(c, (uint8_t *)out, size);
    trace(TRACE_READ, size, (uint64_t)(int64_t)got, got > 0 ? trace_bytes(out, (size_t)got) : 0);
    conn_was_read(c);
    return got > 0                ? (ssize_t)got
           : got == MTWS_IO_EOF   ? 0
           : got == MTWS_IO_AGAIN ? sys_fail(EAGAIN)
                                  : sys_fail(ECONNRESET);
}

static ssize_t sim_sys_send(int fd, const void *data, size_t size, int flags)
{
    descriptor *d = sys_descriptor(fd, FD_FREE);
    if (d->kind == FD_DATAGRAM) {
        if (interrupted()) {
            return sys_fail(EINTR);
        }
        names_asked(d, fd, (const uint8_t *)data, size);
        return (ssize_t)size;
    }
    conn *c = sys_conn(fd);
    REQUIRE((flags & MSG_NOSIGNAL) != 0, "descriptor", "send may raise SIGPIPE");
    REQUIRE(++sim.writes <= WRITES_MAX, "work", "%u writes in one poll", sim.writes);
    REQUIRE(c->stage == STAGE_UP && size > 0 && !c->out_shut, "transport", "a write out of place");
    if (interrupted()) {
        return sys_fail(EINTR);
    }
    ptrdiff_t put = conn_write(c, (const uint8_t *)data, size);
    trace(TRACE_WRITE, size, (uint64_t)(int64_t)put, trace_bytes(data, size));
    return put > 0                ? (ssize_t)put
           : put == MTWS_IO_AGAIN ? sys_fail(EAGAIN)
                                  : sys_fail(c->fin_arrived ? EPIPE : ECONNRESET);
}

/* Bytes that the peer's system has not acknowledged. */
static int sim_sys_ioctl(int fd, unsigned long request, int *out)
{
    const conn *c = sys_conn(fd);
    REQUIRE(request == TIOCOUTQ, "descriptor", "ioctl %lu", request);
    *out = (int)(c->out.sent - c->out.arrived);
    return 0;
}

static int sim_sys_shutdown(int fd, int how)
{
    descriptor *d = sys_descriptor(fd, FD_FREE);
    if (d->kind == FD_DEAD || d->kind == FD_DATAGRAM) {
        d->left_poll = sim.counts.polls;
        return 0;
    }
    conn *c = sys_conn(fd);
    if (how == SHUT_WR) {
        c->out_shut = true;
        if (c->out.arrived == c->out.sent) {
            plan_event(sim.now_us + sim.plan.latency_us, EV_ARRIVE_OUT, c->serial, 0);
        }
    } else if (conn_held(c)) {
        conn_closed(c);
        sys_descriptor(fd, FD_STREAM)->left_poll = sim.counts.polls;
    }
    return 0;
}

/* Where an event loop may know the number, it stays open until the next mtws_poll. */
static int sim_sys_close(int fd)
{
    descriptor *d = sys_descriptor(fd, FD_FREE);
    bool socket = d->kind == FD_STREAM || d->kind == FD_DEAD || d->kind == FD_DATAGRAM;
    for (int i = 0; i < sim.wait.count && socket && !has(T_BLOCK); i++) {
        bool known = sim.wait.fds[i].fd == fd && sim.wait.fds[i].serial == d->known
                     && d->known_opened == d->opened;
        REQUIRE(!known || sim.destroying || (d->left_poll > 0 && d->left_poll < sim.counts.polls),
                "descriptor", "descriptor %d is closed, and the event loop waits for it", fd);
    }
    if (d->kind == FD_STREAM && d->serial != 0 && conn_held(sys_conn(fd))) {
        conn_closed(sys_conn(fd));
    }
    d->kind = FD_FREE;
    return 0;
}

/* ---- waking and waiting ---------------------------------------------------------------------- */

static int sim_sys_eventfd(unsigned count, int flags)
{
    int fd = sys_open(FD_EVENT);
    REQUIRE((flags & EFD_CLOEXEC) != 0 && (flags & EFD_NONBLOCK) != 0, "descriptor", "eventfd");
    sim.fds[fd - FD_BASE].count = count;
    return fd;
}

static ssize_t sim_sys_write(int fd, const void *data, size_t size)
{
    uint64_t one = 0;
    descriptor *d = sys_descriptor(fd, FD_EVENT);
    REQUIRE(size == sizeof one, "descriptor", "a write of %zu bytes", size);
    memcpy(&one, data, sizeof one);
    d->count += one;
    return (ssize_t)size;
}

static ssize_t sim_sys_read(int fd, void *out, size_t size)
{
    descriptor *d = sys_descriptor(fd, FD_FREE);
    if (d->kind == FD_FILE) {
        return file_read(d, out, size);
    }
    REQUIRE(d->kind == FD_EVENT && size >= sizeof d->count, "descriptor", "a read of %zu bytes",
            size);
    if (d->count == 0) {
        return sys_fail(EAGAIN);
    }
    memcpy(out, &d->count, sizeof d->count);
    d->count = 0;
    sim.progress++;
    return (ssize_t)sizeof d->count;
}

/* What poll would say of a descriptor. */
static short descriptor_events(int fd)
{
    const conn *c = NULL;
    if (fd >= FD_BASE && fd < FD_BASE + FDS_MAX) {
        descriptor *d = sys_descriptor(fd, FD_FREE);
        if (d->kind == FD_DEAD) {
            return sim.now_us >= d->refused_us ? POLLOUT | POLLERR | POLLHUP : 0;
        }
        if (d->kind == FD_DATAGRAM) {
            return names_ready(d) != NULL ? POLLIN : 0;
        }
        if (d->kind == FD_EVENT || d->kind == FD_NETLINK) {
            return d->count > 0 ? POLLIN : 0;
        }
        c = sys_conn(fd);
    } else {
        c = conn_now();
        REQUIRE(fd == HOOK_FD + (int)(c->serial % 100), "descriptor", "a wait for descriptor %d",
                fd);
    }
    if (!conn_held(c)) {
        return POLLHUP;
    }
    if (c->stage != STAGE_UP) {
        return c->connect_done || c->stage == STAGE_REFUSED ? POLLOUT : 0;
    }
    bool reads = conn_readable(c) && !has(T_HELD_BYTES);
    return (short)((reads ? POLLIN : 0) | (conn_writable(c) ? POLLOUT : 0)
                   | (c->reset && reads ? POLLERR | POLLHUP : 0));
}

static int poll_ready(struct pollfd *fds, nfds_t count)
{
    int ready = 0;
    for (nfds_t i = 0; i < count; i++) {
        int events = descriptor_events(fds[i].fd);
        fds[i].revents = (short)(events & (fds[i].events | POLLERR | POLLHUP));
        ready += fds[i].revents != 0;
    }
    return ready;
}

/* Something that the program itself does: no call of the client may be under way. */
static bool is_the_programs(const happening *h)
{
    if (h->kind != EV_TRAIT) {
        return h->kind == EV_QUIET;
    }
    switch (h->serial) {
    case T_CLEAR:
    case T_PAUSE:
    case T_DISCONNECT:
    case T_RETRY:
    case T_NEW_URL:
    case T_SPURIOUS_POLL:
    case T_MANUAL:
    case T_NO_POLL: return true;
    default: return false;
    }
}

static void handle(const happening *h);
static void note_wait(void);

/* The whole machine sleeps: everything else in the world goes on. */
static void machine_sleeps(uint64_t until_us)
{
    while (sim.agenda.count > 0 && sim.agenda.heap[0].at_us <= until_us
           && !is_the_programs(&sim.agenda.heap[0])) {
        happening h = agenda_take(&sim.agenda);
        sim.now_us = most(sim.now_us, h.at_us);
        if (h.kind == EV_TRAIT && h.serial == T_SLEEP) {
            plan_event(until_us + 1, EV_TRAIT, T_SLEEP, 0);
            continue;
        }
        handle(&h);
    }
    sim.now_us = most(sim.now_us, until_us);
    sim.asleep_us = 0;
    sim.woken_us = sim.now_us;
}

/* Waits within mtws_poll: the world goes on. The program's own doings end the wait, by mtws_wake or
 * by a signal. */
static int sim_sys_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    uint64_t limit = timeout_ms < 0 ? NEVER : sim.now_us + (uint64_t)timeout_ms * 1000;
    bool again = sim.zero_progress == sim.progress && sim.zero_us == sim.now_us;
    sim.zero_polls = timeout_ms == 0 && again ? sim.zero_polls + 1 : 0;
    sim.zero_progress = sim.progress;
    sim.zero_us = sim.now_us;
    REQUIRE(sim.zero_polls < 100, "spin", "100 calls of poll with nothing done between");
    if (timeout_ms == 0) {
        return poll_ready(fds, count);
    }
    REQUIRE(has(T_BLOCK), "poll", "mtws_poll waits, with a timeout of 0");
    note_wait();
    for (;;) {
        int ready = poll_ready(fds, count);
        if (ready > 0 || sim.now_us >= limit) {
            conn_now()->again_before = conn_now()->again;
            trace(TRACE_POLL_WAIT, count, (uint64_t)(int64_t)timeout_ms, (uint64_t)(int64_t)ready);
            return ready;
        }
        uint64_t event_at = sim.agenda.count > 0 ? sim.agenda.heap[0].at_us : NEVER;
        uint64_t act_at = next_act_us();
        uint64_t next = least(limit, least(event_at, act_at));
        step();
        if (next == NEVER) {
            sim.now_us += (uint64_t)1 << 45;
            check_attempts();
            check_times();
            violate("stuck", "nothing will ever happen any more, in state %d, %llu not settled",
                    sim.state, (unsigned long long)sim.unsettled);
        }
        sim.now_us = most(sim.now_us, next);
        if (act_at <= next || (event_at <= next && is_the_programs(&sim.agenda.heap[0]))) {
            sim.progress++; /* it is not the client that wanted to wake up */
            if (!sim.plan.options.wakeable || rng_chance(&sim.program, 50)) {
                return sys_fail(EINTR);
            }
            REQUIRE(mtws_wake(sim.ws) == MTWS_OK, "wake", "mtws_wake fails");
        } else if (event_at <= next) {
            happening h = agenda_take(&sim.agenda);
            handle(&h);
            if (sim.asleep_us > sim.now_us) {
                uint64_t slept = sim.asleep_us - sim.now_us;
                machine_sleeps(sim.asleep_us);
                limit = later(limit, slept); /* poll does not count sleep */
            }
        }
    }
}

/* The client sleeps where its descriptors are ready again and again, and give nothing: these never
 * are. */
static int sim_sys_nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)time;
    (void)left;
    violate("spin", "descriptors that are ready give nothing");
    return 0;
}

#endif
