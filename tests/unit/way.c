/* The room "way": the header's network as a transport that others stand on, in memory of theirs;
 * and a client over a library of the program's own that wraps it. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "loopback.h"

static unsigned char memory[MTWS_NET_MEMORY_SIZE + 64];

/* Opens as a client does: again and again, with waits between. */
static int open_it(const mtws_transport *net, const char *host, uint16_t port) {
    int result = MTWS_IO_AGAIN;
    for (int i = 0; i < 50 && result == MTWS_IO_AGAIN; i++) {
        result = net->open(net->ctx, host, port, false);
        if (result != MTWS_IO_AGAIN) break;
        mtws_wait wait;
        memset(&wait, 0, sizeof wait);
        net->wait(net->ctx, false, false, &wait);
        if (!CHECK_INT(wait.count, 1)) break;
        loopback_wait(wait.fds[0].fd, POLLOUT);
    }
    return result;
}

static int descriptor(const mtws_transport *net) {
    mtws_wait wait;
    memset(&wait, 0, sizeof wait);
    net->wait(net->ctx, true, false, &wait);
    return wait.count == 1 && wait.fds[0].want_read ? wait.fds[0].fd : -1;
}

static void a_life_at_any_alignment(void) {
    uint16_t port;
    char bytes[16];
    int listener = loopback_listen(&port, 5);
    for (size_t offset = 0; offset < 64; offset++) {
        mtws_transport net;
        test_context("offset %zu", offset);
        memset(memory, 0xA5, sizeof memory);
        CHECK_INT(mtws_net_transport(&net, memory + offset, MTWS_NET_MEMORY_SIZE), MTWS_OK);
        CHECK_STR(mtws_net_reason(&net), "");
        CHECK_INT(open_it(&net, "127.0.0.1", port), 0);
        int server = loopback_accept(listener), fd = descriptor(&net);
        CHECK(loopback_is_cloexec(fd) && loopback_is_nonblocking(fd));
        CHECK_INT(net.write(net.ctx, "ping", 4), 4);
        CHECK(loopback_wait(server, POLLIN));
        CHECK_INT(recv(server, bytes, sizeof bytes, 0), 4);
        CHECK_INT(net.read(net.ctx, bytes, sizeof bytes), MTWS_IO_AGAIN);
        CHECK_STR(mtws_net_reason(&net), "");
        CHECK_INT(send(server, "pong", 4, 0), 4);
        CHECK(loopback_wait(fd, POLLIN));
        CHECK_INT(net.read(net.ctx, bytes, sizeof bytes), 4);
        CHECK_MEM(bytes, "pong", 4);
        close(server);
        CHECK(loopback_wait(fd, POLLIN));
        CHECK_INT(net.read(net.ctx, bytes, sizeof bytes), MTWS_IO_EOF);
        CHECK_STR(mtws_net_reason(&net), "end of stream");
        net.close(net.ctx);
        mtws_net_destroy(&net);
        CHECK(!loopback_is_open(fd));
        CHECK(net.ctx == NULL);
        mtws_net_destroy(&net);
        for (size_t i = 0; i < offset; i++) CHECK_INT(memory[i], 0xA5);
        for (size_t i = offset + MTWS_NET_MEMORY_SIZE; i < sizeof memory; i++) {
            CHECK_INT(memory[i], 0xA5);
        }
    }
    mtws_net_destroy(NULL);
    close(listener);
}

static void bad_arguments(void) {
    mtws_transport net;
    memset(&net, 0x55, sizeof net);
    CHECK_INT(mtws_net_transport(NULL, memory, sizeof memory), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_net_transport(&net, NULL, sizeof memory), MTWS_ERR_ARGUMENT);
    CHECK(net.ctx == NULL && net.open == NULL);
    CHECK_INT(mtws_net_transport(&net, memory, MTWS_NET_MEMORY_SIZE - 1), MTWS_ERR_MEMORY);
    CHECK(net.ctx == NULL);
    CHECK_INT(mtws_net_transport(&net, memory, 0), MTWS_ERR_MEMORY);
    mtws_net_destroy(&net);
    CHECK_INT(mtws_net_transport(&net, memory, sizeof memory), MTWS_OK);
    CHECK_INT(mtws_net_set_proxy(&net, "http://proxy.example"), MTWS_OK);
    CHECK_STR(((mtws__way *)net.ctx)->proxy.text, "http://proxy.example");
    CHECK_INT(mtws_net_set_proxy(&net, NULL), MTWS_OK); /* none */
    CHECK_STR(((mtws__way *)net.ctx)->proxy.text, "");
    mtws_net_destroy(&net);
}

static void reasons(void) {
    mtws_transport net;
    uint16_t port;
    int nobody = loopback_nobody(&port), listener;
    CHECK_INT(mtws_net_transport(&net, memory, sizeof memory), MTWS_OK);
    CHECK_INT(open_it(&net, "127.0.0.1", port), MTWS_ERR_CONNECT);
    CHECK_STR(mtws_net_reason(&net), "connection refused");
    net.close(net.ctx);
    CHECK_INT(open_it(&net, "256.256.256.256", 80), MTWS_ERR_RESOLVE);
    CHECK(mtws_net_reason(&net)[0] != 0);
    net.close(net.ctx);
    /* Where TLS is asked for, nothing goes out in the clear. */
    CHECK_INT(net.open(net.ctx, "127.0.0.1", port, true), MTWS_ERR_TLS);
    CHECK(strstr(mtws_net_reason(&net), "TLS") != NULL);
    net.close(net.ctx);
    close(nobody);
    listener = loopback_listen(&port, 5);
    CHECK_INT(open_it(&net, "127.0.0.1", port), 0);
    CHECK_STR(mtws_net_reason(&net), "");
    int fd = descriptor(&net);
    loopback_reset(loopback_accept(listener));
    CHECK(loopback_wait(fd, POLLIN));
    CHECK_INT(net.read(net.ctx, &port, 1), MTWS_IO_ERROR);
    CHECK_STR(mtws_net_reason(&net), "connection reset by peer");
    CHECK_INT(net.write(net.ctx, "x", 1), MTWS_IO_ERROR);
    CHECK_STR(mtws_net_reason(&net), "the peer has closed the connection");
    net.close(net.ctx);
    mtws_net_destroy(&net);
    close(listener);
}

/* A descriptor that wait() named stays open until the next opening, while the peer hears at once;
 * one that it did not name goes with close(). */
static void descriptors(void) {
    mtws_transport net;
    uint16_t port;
    char byte;
    int listener = loopback_listen(&port, 5);
    CHECK_INT(mtws_net_transport(&net, memory, sizeof memory), MTWS_OK);
    CHECK_INT(open_it(&net, "127.0.0.1", port), 0);
    int server = loopback_accept(listener), first = descriptor(&net);
    net.close(net.ctx);
    CHECK(loopback_is_open(first));
    CHECK(loopback_wait(server, POLLIN));
    CHECK_INT(recv(server, &byte, 1, 0), 0);
    close(server);
    CHECK_INT(open_it(&net, "127.0.0.1", port), 0);
    server = loopback_accept(listener);
    int second = descriptor(&net);
    CHECK(second >= 0 && loopback_is_open(second));
    mtws_net_destroy(&net); /* while it is open */
    CHECK(!loopback_is_open(second) && !loopback_is_open(first));
    CHECK(loopback_wait(server, POLLIN));
    CHECK_INT(recv(server, &byte, 1, 0), 0);
    close(server);
    close(listener);
}

/* ---- through a proxy -------------------------------------------------------------------------- */

/* Reads what the client asks, and answers it. */
static void answer_connect(int listener, const char *expected, const char *answer, int *proxy) {
    char said[512];
    size_t size = 0;
    *proxy = loopback_accept(listener);
    while (size < strlen(expected) && loopback_wait(*proxy, POLLIN)) {
        ptrdiff_t got = recv(*proxy, said + size, sizeof said - 1 - size, 0);
        if (got <= 0) break;
        size += (size_t)got;
    }
    said[size] = 0;
    CHECK_STR(said, expected);
    CHECK_INT(send(*proxy, answer, strlen(answer), 0), (ptrdiff_t)strlen(answer));
}

/* Opens while the proxy answers as it is told to. */
static int open_through(const mtws_transport *net, int listener, const char *expected,
                        const char *answer, int *proxy) {
    int result = MTWS_IO_AGAIN;
    bool answered = false;
    for (int i = 0; i < 50 && result == MTWS_IO_AGAIN; i++) {
        result = net->open(net->ctx, "server.example", 8080, false);
        if (result != MTWS_IO_AGAIN) break;
        mtws_wait wait;
        memset(&wait, 0, sizeof wait);
        net->wait(net->ctx, false, false, &wait);
        if (!CHECK_INT(wait.count, 1)) break;
        if (wait.fds[0].want_read && !answered) {
            answer_connect(listener, expected, answer, proxy);
            answered = true;
        }
        CHECK(wait.fds[0].want_read != wait.fds[0].want_write);
        loopback_wait(wait.fds[0].fd, wait.fds[0].want_read ? POLLIN : POLLOUT);
    }
    CHECK(answered);
    return result;
}

static void through_a_proxy(void) {
    static const char asked[] = "CONNECT server.example:8080 HTTP/1.1\r\n"
                                "Host: server.example:8080\r\n"
                                "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n";
    mtws_transport net, other;
    uint16_t port;
    char url[64], bytes[16], text[MTWS_PROXY_MAX + 8];
    int listener = loopback_listen(&port, 5), proxy = -1;
    CHECK_INT(mtws_net_transport(&net, memory, sizeof memory), MTWS_OK);
    snprintf(url, sizeof url, "http://user:pass@127.0.0.1:%u", (unsigned)port);
    CHECK_INT(mtws_net_set_proxy(&net, "https://x"), MTWS_ERR_URL);
    memset(text, 'x', sizeof text);
    memcpy(text, "http://", 7);
    text[MTWS_PROXY_MAX] = 0;
    CHECK_INT(mtws_net_set_proxy(&net, text), MTWS_ERR_TOO_BIG);
    memset(&other, 0, sizeof other);
    CHECK_INT(mtws_net_set_proxy(&other, url), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_net_set_proxy(NULL, url), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_net_set_proxy(&net, url), MTWS_OK);

    CHECK_INT(open_through(&net, listener, asked, "HTTP/1.1 200 OK\r\n\r\n", &proxy), 0);
    CHECK_STR(mtws_net_reason(&net), "");
    CHECK_INT(mtws_net_set_proxy(&net, NULL), MTWS_ERR_STATE);
    CHECK_INT(net.write(net.ctx, "ping", 4), 4);
    CHECK(loopback_wait(proxy, POLLIN));
    CHECK_INT(recv(proxy, bytes, sizeof bytes, 0), 4);
    CHECK_INT(send(proxy, "pong", 4, 0), 4);
    CHECK(loopback_wait(descriptor(&net), POLLIN));
    CHECK_INT(net.read(net.ctx, bytes, sizeof bytes), 4);
    net.close(net.ctx);
    close(proxy);

    CHECK_INT(open_through(&net, listener, asked, "HTTP/1.1 407 Who\r\n\r\n", &proxy),
              MTWS_ERR_PROXY);
    CHECK_STR(mtws_net_reason(&net),
              "the proxy answered CONNECT with 407: it refused the user or the password");
    net.close(net.ctx);
    close(proxy);

    /* Without one it leads to the server itself. */
    CHECK_INT(mtws_net_set_proxy(&net, ""), MTWS_OK);
    CHECK_INT(open_it(&net, "127.0.0.1", port), 0);
    proxy = loopback_accept(listener);
    CHECK_INT(net.write(net.ctx, "ping", 4), 4);
    CHECK(loopback_wait(proxy, POLLIN));
    CHECK_INT(recv(proxy, bytes, sizeof bytes, 0), 4);
    net.close(net.ctx);
    CHECK_INT(mtws_net_set_proxy(&net, url), MTWS_OK);
    mtws_net_destroy(&net);
    close(proxy);
    close(listener);
}

/* ---- a library of the program's own ----------------------------------------------------------- */

/* It stands for TLS: each byte is changed on the wire. */
typedef struct veil {
    mtws_transport net;
    bool asked_tls;
} veil;

static void veil_bytes(uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) data[i] ^= 0x5a;
}

static int veil_open(void *ctx, const char *host, uint16_t port, bool tls) {
    veil *v = (veil *)ctx;
    v->asked_tls = tls;
    return v->net.open(v->net.ctx, host, port, false);
}

static ptrdiff_t veil_read(void *ctx, void *out, size_t capacity) {
    veil *v = (veil *)ctx;
    ptrdiff_t got = v->net.read(v->net.ctx, out, capacity);
    if (got > 0) veil_bytes((uint8_t *)out, (size_t)got);
    return got;
}

static ptrdiff_t veil_write(void *ctx, const void *data, size_t size) {
    veil *v = (veil *)ctx;
    uint8_t copy[256];
    size = size < sizeof copy ? size : sizeof copy;
    memcpy(copy, data, size);
    veil_bytes(copy, size);
    return v->net.write(v->net.ctx, copy, size);
}

static void veil_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    veil *v = (veil *)ctx;
    v->net.wait(v->net.ctx, want_read, want_write, out);
}

static void veil_close(void *ctx) {
    veil *v = (veil *)ctx;
    v->net.close(v->net.ctx);
}

static void veil_start(veil *v, mtws_transport *out) {
    memset(v, 0, sizeof *v);
    CHECK_INT(mtws_net_transport(&v->net, memory, sizeof memory), MTWS_OK);
    out->open = veil_open;
    out->read = veil_read;
    out->write = veil_write;
    out->wait = veil_wait;
    out->close = veil_close;
    out->ctx = v;
}

/* Reads the request, answers it, and says hello. */
static void veil_serve(int server) {
    char request[4096], accept[29], answer[512];
    size_t size = 0;
    const char *key = NULL;
    while (size + 1 < sizeof request && loopback_wait(server, POLLIN)) {
        ptrdiff_t got = recv(server, request + size, sizeof request - 1 - size, 0);
        if (got <= 0) break;
        veil_bytes((uint8_t *)request + size, (size_t)got);
        size += (size_t)got;
        request[size] = 0;
        if (strstr(request, "\r\n\r\n") != NULL) break;
    }
    if (CHECK(size > 0)) key = strstr(request, "Sec-WebSocket-Key: ");
    if (!CHECK(key != NULL)) return;
    mtws__handshake_accept(accept, key + 19);
    int length = snprintf(answer, sizeof answer,
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n\x81\x05hello",
                          accept);
    veil_bytes((uint8_t *)answer, (size_t)length);
    CHECK_INT(send(server, answer, (size_t)length, 0), length);
}

static void a_client_above(void) {
    mtws_client *ws;
    mtws_options options;
    mtws_event event;
    veil v;
    char url[64], said[16] = "";
    uint16_t port;
    int listener = loopback_listen(&port, 5), server = -1;
    memset(&options, 0, sizeof options);
    veil_start(&v, &options.transport);
    options.max_reconnect_attempts = MTWS_OFF;
    snprintf(url, sizeof url, "wss://127.0.0.1:%u/", (unsigned)port);
    CHECK_INT(mtws_create(&ws, &options), MTWS_OK);
    CHECK_INT(mtws_connect(ws, url, NULL), MTWS_OK);
    for (int i = 0; i < 100 && said[0] == 0 && !test_failing(); i++) {
        if (mtws_poll(ws, &event, server < 0 ? 0 : LOOPBACK_WAIT_MS) != 1) {
            if (server < 0 && loopback_wait(listener, POLLIN)) {
                server = loopback_accept(listener);
                CHECK_INT(mtws_poll(ws, &event, 0), 0); /* writes the request */
                veil_serve(server);
            }
            continue;
        }
        if (event.type == MTWS_EVENT_MESSAGE) {
            snprintf(said, sizeof said, "%s", (const char *)event.data);
        }
        CHECK(event.state != MTWS_STATE_ERROR);
    }
    CHECK_STR(said, "hello");
    CHECK(v.asked_tls);
    mtws_destroy(ws);
    mtws_net_destroy(&v.net);
    close(server);
    close(listener);
}

/* A transport that is closed has no more descriptors to keep open than wait told of last, however
 * many it had to keep before that. */
static void closed_behind_many(void) {
    mtws_transport net;
    CHECK_INT(mtws_net_transport(&net, memory, sizeof memory), MTWS_OK);
    mtws__way *way = (mtws__way *)net.ctx;
    int before[MTWS__NET_SOCKETS], shown[MTWS__NET_SOCKETS];
    way->open = true;
    for (int i = 0; i < MTWS__NET_SOCKETS; i++) {
        before[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        shown[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        loopback_need(before[i] >= 0 && shown[i] >= 0, "socket");
        mtws__net_put(&way->net, i, before[i]);
    }
    mtws__net_show(&way->net);
    for (int i = 0; i < MTWS__NET_SOCKETS; i++) mtws__net_put(&way->net, i, shown[i]);
    CHECK_INT(way->net.retired_count, MTWS__NET_SOCKETS);
    mtws_wait wait;
    memset(&wait, 0, sizeof wait);
    net.wait(net.ctx, true, true, &wait);
    CHECK_INT(wait.count, MTWS__NET_SOCKETS);
    net.close(net.ctx);
    for (int i = 0; i < MTWS__NET_SOCKETS; i++) {
        CHECK(!loopback_is_open(before[i]));
        CHECK(loopback_is_open(shown[i]));
    }
    mtws_net_destroy(&net);
    for (int i = 0; i < MTWS__NET_SOCKETS; i++) CHECK(!loopback_is_open(shown[i]));
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(a_life_at_any_alignment), TEST(bad_arguments), TEST(reasons),
        TEST(closed_behind_many),      TEST(descriptors),   TEST(through_a_proxy),
        TEST(a_client_above),
    };
    return TEST_MAIN(tests, argc, argv);
}
