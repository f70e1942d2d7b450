/* The room "net": TCP as a transport, over sockets on the loopback; the next address where one
 * refuses or is silent. Names are in lookup.c. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "loopback.h"

static mtws__net net;
static mtws__random random_source;
static mtws_transport transport;

static void start(void) {
    static const uint8_t seed[32] = {1};
    mtws__net_start(&net);
    mtws__random_seed(&random_source, seed);
    net.random = &random_source;
    net.now_us = 1000000;
    memset(&transport, 0, sizeof transport);
    mtws__net_transport(&net, &transport);
}

/* The machine's own address number `n`: all of 127.0.0.0/8 is. */
static mtws__ip own(int n) {
    mtws__ip ip;
    memset(&ip, 0, sizeof ip);
    ip.bytes[0] = 127;
    ip.bytes[3] = (uint8_t)n;
    return ip;
}

/* Begins with so many addresses, where a resolved name's would be. */
static void know(uint16_t port, int count) {
    net.port = port;
    net.stage = MTWS__NET_KNOWN;
    mtws__race_start(&net.race, net.family, net.skip, net.delay_us);
    for (int i = 1; i <= count; i++) {
        mtws__ip ip = own(i);
        mtws__net_add(&net, &ip);
    }
}

static int open_now(void) { return transport.open(transport.ctx, "not.asked.invalid", 1, false); }

/* Opens as a client does: again and again, with waits between that take as long as they say. */
static int open_it(const char *host, uint16_t port) {
    int result = MTWS_IO_AGAIN;
    for (int i = 0; i < 50 && result == MTWS_IO_AGAIN; i++) {
        result = transport.open(transport.ctx, host, port, false);
        if (result != MTWS_IO_AGAIN) break;
        mtws_wait wait;
        memset(&wait, 0, sizeof wait);
        wait.timeout_ms = -1;
        transport.wait(transport.ctx, true, false, &wait);
        struct pollfd fds[MTWS_WAIT_MAX];
        for (int k = 0; k < wait.count; k++) {
            CHECK(wait.fds[k].want_write && !wait.fds[k].want_read);
            fds[k].fd = wait.fds[k].fd;
            fds[k].events = POLLOUT;
        }
        int ready = poll(fds, (nfds_t)wait.count, wait.timeout_ms < 0 ? LOOPBACK_WAIT_MS : 0);
        if (ready == 0) net.now_us += (uint64_t)wait.timeout_ms * 1000;
    }
    return result;
}

static int sockets_open(void) {
    int count = 0;
    for (int i = 0; i < MTWS__NET_SOCKETS; i++) count += net.sockets[i].fd >= 0;
    return count;
}

static void finish(void) {
    transport.close(transport.ctx);
    mtws__net_sweep(&net);
    CHECK_INT(net.fd, -1);
    CHECK_INT(sockets_open(), 0);
    CHECK_INT(net.retired_count, 0);
    CHECK_INT(net.file, -1);
}

static void a_life(void) {
    uint16_t port;
    uint8_t bytes[64];
    mtws_wait wait;
    int listener = loopback_listen(&port, 5);
    start();
    CHECK_INT(net.fd, -1);
    memset(&wait, 0, sizeof wait);
    wait.timeout_ms = -1;
    transport.wait(transport.ctx, true, true, &wait);
    CHECK_INT(wait.count, 0);
    CHECK_INT(wait.timeout_ms, -1);
    CHECK_INT(open_it("127.0.0.1", port), 0);
    CHECK(loopback_is_cloexec(net.fd) && loopback_is_nonblocking(net.fd));
    int server = loopback_accept(listener);
    transport.wait(transport.ctx, true, false, &wait);
    CHECK(wait.count == 1 && wait.fds[0].want_read && !wait.fds[0].want_write);
    CHECK_UINT(wait.fds[0].serial, net.serial);
    transport.wait(transport.ctx, false, true, &wait);
    CHECK(wait.count == 2 && !wait.fds[1].want_read && wait.fds[1].want_write);
    CHECK_INT(transport.read(transport.ctx, bytes, sizeof bytes), MTWS_IO_AGAIN);
    CHECK_INT(transport.write(transport.ctx, "ping", 4), 4);
    CHECK(loopback_wait(server, POLLIN));
    CHECK_INT(recv(server, bytes, sizeof bytes, 0), 4);
    CHECK_INT(send(server, "pong", 4, 0), 4);
    CHECK(loopback_wait(net.fd, POLLIN));
    CHECK_INT(transport.read(transport.ctx, bytes, sizeof bytes), 4);
    CHECK_MEM(bytes, "pong", 4);
    net.error = 99;
    close(server);
    CHECK(loopback_wait(net.fd, POLLIN));
    CHECK_INT(transport.read(transport.ctx, bytes, sizeof bytes), MTWS_IO_EOF);
    CHECK_INT(net.error, 0);
    uint32_t serial = net.serial;
    finish();
    CHECK_INT(open_it("127.0.0.1", port), 0); /* another connection is another socket */
    CHECK(net.serial != serial);
    finish();
    close(listener);
}

static void reset_by_peer(void) {
    uint16_t port;
    uint8_t bytes[64];
    int listener = loopback_listen(&port, 5);
    start();
    CHECK_INT(open_it("127.0.0.1", port), 0);
    loopback_reset(loopback_accept(listener));
    CHECK(loopback_wait(net.fd, POLLIN));
    CHECK_INT(transport.read(transport.ctx, bytes, sizeof bytes), MTWS_IO_ERROR);
    CHECK_INT(net.error, ECONNRESET);
    CHECK_INT(transport.write(transport.ctx, "x", 1), MTWS_IO_ERROR);
    CHECK_INT(net.error, EPIPE);
    finish();
    close(listener);
}

/* FAULTS row 51: poll() tells of the end and of what came before it at once; that is read first. */
static void last_words(void) {
    for (int reset = 0; reset < 2; reset++) {
        uint16_t port;
        uint8_t bytes[64];
        int listener = loopback_listen(&port, 5);
        start();
        test_context("reset %d", reset);
        CHECK_INT(open_it("127.0.0.1", port), 0);
        int server = loopback_accept(listener);
        CHECK_INT(transport.write(transport.ctx, "unread", 6), 6);
        CHECK_INT(send(server, "bye", 3, 0), 3);
        mtws__os_shutdown(net.fd, false);
        if (reset) loopback_reset(server);
        else close(server);
        for (int i = 0; i < 500; i++) {
            struct pollfd p = {net.fd, POLLIN, 0};
            if (poll(&p, 1, 10) == 1 && (p.revents & POLLHUP) != 0) break;
        }
        CHECK_INT(transport.read(transport.ctx, bytes, sizeof bytes), 3);
        CHECK_MEM(bytes, "bye", 3);
        ptrdiff_t end = transport.read(transport.ctx, bytes, sizeof bytes);
        CHECK(end == MTWS_IO_ERROR || end == MTWS_IO_EOF);
        finish();
        close(listener);
    }
}

static void write_without_room(void) {
    static uint8_t bytes[100000];
    uint16_t port;
    int listener = loopback_listen(&port, 5);
    start();
    CHECK_INT(open_it("127.0.0.1", port), 0);
    int server = loopback_accept(listener);
    ptrdiff_t put = 1;
    for (int i = 0; i < 10000 && put > 0; i++)
        put = transport.write(transport.ctx, bytes, sizeof bytes);
    CHECK_INT(put, MTWS_IO_AGAIN);
    finish();
    close(server);
    close(listener);
}

/* A socket bound at the address `n`, at a port that is free there (0) or this one; -1: taken. */
static int bind_at(int n, uint16_t port) {
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    loopback_need(fd >= 0, "socket");
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + (uint32_t)n);
    if (bind(fd, (const struct sockaddr *)&address, (socklen_t)sizeof address) == 0) return fd;
    loopback_need(errno == EADDRINUSE, "bind");
    close(fd);
    return -1;
}

/* Sockets at the first addresses, at one port that is free at each: until they listen nobody is
 * there, and nobody else can be. */
static uint16_t hold(int *fds, int count) {
    struct sockaddr_in address;
    socklen_t size = (socklen_t)sizeof address;
    for (int tries = 0; tries < 100; tries++) {
        int held = 0;
        fds[held++] = bind_at(1, 0);
        loopback_need(getsockname(fds[0], (struct sockaddr *)&address, &size) == 0, "getsockname");
        while (held < count && (fds[held] = bind_at(held + 1, ntohs(address.sin_port))) >= 0) {
            held++;
        }
        if (held == count) return ntohs(address.sin_port);
        while (held > 0) close(fds[--held]);
    }
    loopback_need(false, "no port is free at so many addresses");
    return 0;
}

static void let_go(const int *fds, int count) {
    for (int i = 0; i < count; i++) close(fds[i]);
}

/* FAULTS row 50: the next address, then the error of the last. */
static void next_address(void) {
    for (int good = 1; good <= 5; good++) {
        int fds[5];
        uint16_t port = hold(fds, 5);
        loopback_need(listen(fds[good - 1], 5) == 0, "listen");
        start();
        know(port, 4);
        test_context("address %d of 4 answers", good);
        int result = open_it("not.asked.invalid", 1);
        CHECK_INT(result, good <= 4 ? 0 : MTWS_ERR_CONNECT);
        int lost = 0;
        for (int i = 0; i < 4; i++) lost += net.race.fates[i] == MTWS__RACE_LOST;
        CHECK_INT(lost, good - 1);
        if (good > 1) CHECK_INT(net.error, ECONNREFUSED);
        if (good == 5) CHECK_INT(net.fd, -1);
        CHECK_UINT(net.now_us, 1000000); /* nobody was waited for */
        finish();
        let_go(fds, 5);
    }
}

/* Listeners at the first addresses that take no more connections: whoever connects is left without
 * an answer. Behind them, sockets at the same port. */
enum { FILLERS = 32 };
static struct {
    int sockets[5], fillers[FILLERS], fillers_count;
    uint16_t port;
} silent;

static bool silence(int count) {
    memset(&silent, 0, sizeof silent);
    silent.port = hold(silent.sockets, 5);
    for (int i = 1; i <= count; i++) {
        loopback_need(listen(silent.sockets[i - 1], 0) == 0, "listen");
        bool stuck = false;
        while (!stuck && silent.fillers_count < FILLERS) {
            struct sockaddr_in address;
            memset(&address, 0, sizeof address);
            address.sin_family = AF_INET;
            address.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + (uint32_t)i);
            address.sin_port = htons(silent.port);
            int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
            loopback_need(fd >= 0, "socket");
            connect(fd, (const struct sockaddr *)&address, (socklen_t)sizeof address);
            struct pollfd p = {fd, POLLOUT, 0};
            silent.fillers[silent.fillers_count++] = fd;
            stuck = poll(&p, 1, 100) == 0;
        }
        if (!CHECK(stuck)) return false;
    }
    return true;
}

static void speak(void) {
    while (silent.fillers_count > 0) close(silent.fillers[--silent.fillers_count]);
    let_go(silent.sockets, 5);
}

/* FAULTS row 70: an address that does not answer costs 250 ms; the one that answers is taken, the
 * other is closed, and only one of them ever hears a byte. */
static void silent_address(void) {
    for (int seen = 0; seen < 2; seen++) {
        mtws_wait wait;
        if (!CHECK(silence(1))) {
            speak();
            break;
        }
        int listener = silent.sockets[1];
        loopback_need(listen(listener, 5) == 0, "listen");
        start();
        know(silent.port, 2);
        CHECK_INT(open_now(), MTWS_IO_AGAIN);
        if (seen) mtws__net_show(&net);
        memset(&wait, 0, sizeof wait);
        wait.timeout_ms = -1;
        transport.wait(transport.ctx, true, true, &wait);
        CHECK_INT(wait.count, 1);
        CHECK_INT(wait.timeout_ms, 250);
        int first = wait.fds[0].fd;
        net.now_us += 249000;
        CHECK_INT(open_now(), MTWS_IO_AGAIN);
        CHECK_INT(sockets_open(), 1);
        net.now_us += 1000;
        CHECK_INT(open_it("not.asked.invalid", 1), 0);
        CHECK_UINT(net.now_us, 1250000);
        CHECK_INT(sockets_open(), 1);
        /* An event loop that knows the descriptor has until the next poll to forget it. */
        CHECK_INT(loopback_is_open(first), seen);
        CHECK_INT(net.retired_count, seen);
        mtws__net_sweep(&net);
        CHECK(!loopback_is_open(first));
        int server = loopback_accept(listener);
        char byte;
        CHECK_INT(transport.write(transport.ctx, "x", 1), 1);
        CHECK(loopback_wait(server, POLLIN));
        CHECK_INT(recv(server, &byte, 1, 0), 1);
        finish();
        close(server);
        speak();
    }
}

/* Never more than three at a time, and an event loop's list is never full. */
static void many_silent_addresses(void) {
    if (silence(5)) {
        mtws_wait wait;
        start();
        know(silent.port, 5);
        for (int i = 0; i < 3; i++) {
            CHECK_INT(open_now(), MTWS_IO_AGAIN);
            CHECK_INT(sockets_open(), i + 1);
            net.now_us += 250000;
        }
        CHECK_INT(open_now(), MTWS_IO_AGAIN);
        CHECK_INT(sockets_open(), 3);
        memset(&wait, 0, sizeof wait);
        wait.timeout_ms = -1;
        transport.wait(transport.ctx, true, true, &wait);
        CHECK_INT(wait.count, 3);
        CHECK_INT(wait.timeout_ms, 3000 - 750);
        for (int i = 0; i < 3; i++) {
            for (int k = 0; k < i; k++) CHECK(wait.fds[i].serial != wait.fds[k].serial);
        }
        int oldest = net.sockets[0].fd;
        mtws__net_show(&net);
        net.now_us += 3000000 - 750000;
        CHECK_INT(open_now(), MTWS_IO_AGAIN); /* the fourth takes the place of the first */
        CHECK_INT(sockets_open(), 3);
        CHECK_INT(net.retired_count, 1);
        CHECK_INT(net.retired[0], oldest);
        CHECK_INT(net.race.fates[0], MTWS__RACE_LOST);
        CHECK_INT(net.race.fates[3], MTWS__RACE_RUNS);
        mtws__net_sweep(&net);
        mtws__net_show(&net);
        oldest = net.sockets[1].fd;
        net.now_us += 250000;
        CHECK_INT(open_now(), MTWS_IO_AGAIN); /* the fifth that of the second */
        CHECK_INT(sockets_open(), 3);
        CHECK_INT(net.retired_count, 1);
        CHECK_INT(net.retired[0], oldest);
        CHECK_INT(net.race.fates[1], MTWS__RACE_LOST);
        CHECK_INT(net.race.fates[4], MTWS__RACE_RUNS);
        finish();
        /* The next attempt begins behind the first. */
        know(silent.port, 4);
        CHECK_INT(open_now(), MTWS_IO_AGAIN);
        CHECK_INT(net.race.fates[1], MTWS__RACE_RUNS);
        finish();
    }
    speak();
}

/* What won is remembered; what could be connected to and was of no use is tried last. */
static void memory_of_the_last(void) {
    uint16_t port;
    mtws__ip six;
    int listener = loopback_listen(&port, 5);
    start();
    CHECK_INT(net.family, MTWS__IPV6);
    know(port, 1);
    mtws__ip_parse(mtws__span_of("::1"), &six);
    mtws__net_add(&net, &six);
    CHECK_INT(open_it("not.asked.invalid", 1), 0);
    CHECK_INT(net.race.fates[1], MTWS__RACE_LOST); /* it came first, and nobody is there */
    CHECK_INT(net.family, MTWS__IPV4);
    transport.close(transport.ctx);
    know(port, 1);
    mtws__net_add(&net, &six);
    CHECK_INT(open_it("not.asked.invalid", 1), 0);
    CHECK_INT(net.race.fates[1], MTWS__RACE_WAITS);
    unsigned skip = net.skip;
    mtws__net_doubt(&net);
    CHECK_INT(net.family, MTWS__IPV6);
    CHECK_UINT(net.skip, skip + 1);
    finish();
    close(listener);
}

static void errors_of_open(void) {
    start();
    CHECK_INT(transport.open(transport.ctx, "127.0.0.1", 1, true), MTWS_ERR_TLS);
    mtws__net_names(&net, MTWS_RESOLVER_SYSTEM, NULL, 0);
    CHECK_INT(transport.open(transport.ctx, "256.256.256.256.invalid", 80, false),
              MTWS_ERR_RESOLVE);
    CHECK_STR(mtws__net_why(&net, MTWS_ERR_RESOLVE), mtws__os_resolve_text(net.error));
    finish();
}

/* A descriptor that an event loop may know is not closed under it: the peer hears at once, the
 * number is free after the next poll. */
static void retired(void) {
    uint16_t port;
    char byte;
    int listener = loopback_listen(&port, 5);
    start();
    CHECK_INT(open_it("127.0.0.1", port), 0);
    int server = loopback_accept(listener), fd = net.fd;
    mtws__net_show(&net);
    transport.close(transport.ctx);
    CHECK_INT(net.fd, -1);
    CHECK_INT(net.retired_count, 1);
    CHECK_INT(net.retired[0], fd);
    CHECK(loopback_is_open(fd));
    CHECK(loopback_wait(server, POLLIN));
    CHECK_INT(recv(server, &byte, 1, 0), 0);
    close(server);
    /* Another one that was seen meanwhile is kept too. */
    CHECK_INT(open_it("127.0.0.1", port), 0);
    int second = net.fd;
    CHECK(second != fd);
    mtws__net_show(&net);
    transport.close(transport.ctx);
    CHECK(loopback_is_open(second));
    mtws__net_sweep(&net);
    CHECK(!loopback_is_open(fd));
    CHECK(!loopback_is_open(second));
    mtws__net_sweep(&net);
    /* One that nobody has seen goes at once. */
    CHECK_INT(open_it("127.0.0.1", port), 0);
    fd = net.fd;
    transport.close(transport.ctx);
    CHECK(!loopback_is_open(fd));
    CHECK_INT(net.retired_count, 0);
    transport.close(transport.ctx);
    close(listener);
}

/* Where as many are kept as can be, as where a client is destroyed right behind a poll that retired
 * all it had, others are closed at once. */
static void retired_without_room(void) {
    int fds[2][MTWS__NET_SOCKETS];
    start();
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < MTWS__NET_SOCKETS; i++) {
            fds[turn][i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            loopback_need(fds[turn][i] >= 0, "socket");
            mtws__net_put(&net, i, fds[turn][i]);
        }
        mtws__net_show(&net);
    }
    transport.close(transport.ctx);
    CHECK_INT(net.retired_count, MTWS__NET_SOCKETS);
    for (int i = 0; i < MTWS__NET_SOCKETS; i++) {
        CHECK(loopback_is_open(fds[0][i]));
        CHECK(!loopback_is_open(fds[1][i]));
    }
    finish();
}

/* The loopback is there without a network. */
static void loopback_is_never_offline(void) {
    start();
    know(80, 1);
    CHECK(!mtws__net_is_offline(&net));
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(a_life),
        TEST(reset_by_peer),
        TEST(last_words),
        TEST(write_without_room),
        TEST(next_address),
        TEST(silent_address),
        TEST(many_silent_addresses),
        TEST(memory_of_the_last),
        TEST(errors_of_open),
        TEST(retired),
        TEST(retired_without_room),
        TEST(loopback_is_never_offline),
    };
    return TEST_MAIN(tests, argc, argv);
}
