/* The room "net": TCP as a transport, over sockets on the loopback; the next address where one
 * refuses. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "loopback.h"

static mtws__net net;
static mtws_transport transport;

static void start(void) {
    mtws__net_start(&net);
    memset(&transport, 0, sizeof transport);
    mtws__net_transport(&net, &transport);
}

/* Puts addresses where a resolved name's would be. */
static void know(const uint16_t *ports, int count) {
    for (int i = 0; i < count; i++) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)&net.addresses[i].storage;
        memset(&net.addresses[i], 0, sizeof net.addresses[i]);
        in->sin_family = AF_INET;
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        in->sin_port = htons(ports[i]);
        net.addresses[i].size = (socklen_t)sizeof *in;
    }
    net.count = count;
}

/* Opens as a client does: again and again, with waits between. */
static int open_it(const char *host, uint16_t port) {
    int result = MTWS_IO_AGAIN;
    for (int i = 0; i < 50 && result == MTWS_IO_AGAIN; i++) {
        result = transport.open(transport.ctx, host, port, false);
        if (result != MTWS_IO_AGAIN) break;
        mtws_wait wait;
        memset(&wait, 0, sizeof wait);
        transport.wait(transport.ctx, true, false, &wait);
        CHECK_INT(wait.count, 1);
        CHECK_INT(wait.fds[0].fd, net.fd);
        CHECK(wait.fds[0].want_write && !wait.fds[0].want_read);
        loopback_wait(net.fd, POLLOUT);
    }
    return result;
}

static void finish(void) {
    transport.close(transport.ctx);
    mtws__net_sweep(&net);
    CHECK_INT(net.fd, -1);
    CHECK_INT(net.retired, -1);
}

static void a_life(void) {
    uint16_t port;
    uint8_t bytes[64];
    mtws_wait wait;
    int listener = loopback_listen(&port, 5);
    start();
    CHECK_INT(net.fd, -1);
    memset(&wait, 0, sizeof wait);
    transport.wait(transport.ctx, true, true, &wait);
    CHECK_INT(wait.count, 0);
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

/* FAULTS row 50: the next address, then the error of the last. */
static void next_address(void) {
    for (int good = 0; good <= 4; good++) {
        uint16_t ports[4], port;
        int holders[4], listener = loopback_listen(&port, 5);
        start();
        for (int i = 0; i < 4; i++) holders[i] = loopback_nobody(&ports[i]);
        if (good < 4) ports[good] = port;
        know(ports, 4);
        test_context("address %d of 4 answers", good);
        int result = open_it("not.resolved.invalid", 1);
        CHECK_INT(result, good < 4 ? 0 : MTWS_ERR_CONNECT);
        CHECK_INT(net.tried, good < 4 ? good + 1 : 4);
        if (good > 0) CHECK_INT(net.error, ECONNREFUSED);
        if (good == 4) CHECK_INT(net.fd, -1);
        finish();
        CHECK_INT(net.count, 0);
        for (int i = 0; i < 4; i++) close(holders[i]);
        close(listener);
    }
}

/* An attempt that is given up while an address does not answer begins behind that address the next
 * time. */
static void behind_the_silent_one(void) {
    uint16_t silent, port;
    int full = loopback_listen(&silent, 0), listener = loopback_listen(&port, 5), fillers[8],
        count = 0;
    bool stuck = false;
    while (count < 8 && !stuck) { /* until the listener takes no more */
        struct sockaddr_in address;
        memset(&address, 0, sizeof address);
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(silent);
        fillers[count] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        loopback_need(fillers[count] >= 0, "socket");
        connect(fillers[count], (const struct sockaddr *)&address, (socklen_t)sizeof address);
        struct pollfd p = {fillers[count++], POLLOUT, 0};
        stuck = poll(&p, 1, 100) == 0;
    }
    if (CHECK(stuck)) {
        uint16_t ports[2] = {silent, port};
        start();
        know(ports, 2);
        CHECK_INT(transport.open(transport.ctx, "h", 1, false), MTWS_IO_AGAIN);
        CHECK(net.connecting);
        transport.close(transport.ctx); /* the connect timeout */
        CHECK(!net.connecting);
        know(ports, 2);
        CHECK_INT(open_it("h", 1), 0);
        CHECK_INT(net.tried, 1);
        transport.close(transport.ctx);
        know(ports, 2);
        CHECK_INT(open_it("h", 1), 0); /* and stays with the one that answered */
        CHECK_INT(net.tried, 1);
        finish();
    }
    while (count > 0) close(fillers[--count]);
    close(full);
    close(listener);
}

static void errors_of_open(void) {
    start();
    CHECK_INT(transport.open(transport.ctx, "127.0.0.1", 1, true), MTWS_ERR_TLS);
    CHECK_INT(transport.open(transport.ctx, "256.256.256.256.invalid", 80, false),
              MTWS_ERR_RESOLVE);
    CHECK(mtws__os_resolve_text(net.error)[0] != 0);
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
    net.seen = true;
    transport.close(transport.ctx);
    CHECK_INT(net.fd, -1);
    CHECK_INT(net.retired, fd);
    CHECK(loopback_is_open(fd));
    CHECK(loopback_wait(server, POLLIN));
    CHECK_INT(recv(server, &byte, 1, 0), 0);
    close(server);
    /* Another one that was seen meanwhile is closed, not forgotten. */
    CHECK_INT(open_it("127.0.0.1", port), 0);
    int second = net.fd;
    CHECK(second != fd);
    net.seen = true;
    transport.close(transport.ctx);
    CHECK(!loopback_is_open(second));
    mtws__net_sweep(&net);
    CHECK(!loopback_is_open(fd));
    mtws__net_sweep(&net);
    /* One that nobody has seen goes at once. */
    CHECK_INT(open_it("127.0.0.1", port), 0);
    fd = net.fd;
    transport.close(transport.ctx);
    CHECK(!loopback_is_open(fd));
    CHECK_INT(net.retired, -1);
    transport.close(transport.ctx);
    close(listener);
}

/* The loopback is there without a network. */
static void loopback_is_never_offline(void) {
    uint16_t ports[1] = {80};
    start();
    know(ports, 1);
    net.known = 1;
    CHECK(!mtws__net_is_offline(&net));
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(a_life),
        TEST(reset_by_peer),
        TEST(write_without_room),
        TEST(next_address),
        TEST(behind_the_silent_one),
        TEST(errors_of_open),
        TEST(retired),
        TEST(loopback_is_never_offline),
    };
    return TEST_MAIN(tests, argc, argv);
}
