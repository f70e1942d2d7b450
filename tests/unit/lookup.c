/* Names from end to end: the room "net" over the loopback, with hosts and resolv.conf of the test's
 * own and a name server in the same thread, which answers, fails, forges and truncates as the test
 * says. Time is the test's. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char files_at[64];
static unsigned opens, stats; /* of files */
static bool no_descriptors;

/* "/etc/hosts" and the like lie in the test's folder. */
static const char *file_path(const char *path) {
    static char own[128];
    const char *name = strrchr(path, '/');
    snprintf(own, sizeof own, "%s%s", files_at, name == NULL ? path : name);
    return own;
}

static int own_open(const char *path, int flags) {
    opens++;
    if (no_descriptors) errno = EMFILE;
    return no_descriptors ? -1 : open(file_path(path), flags);
}

static int own_stat(const char *path, struct stat *out) {
    stats++;
    return stat(file_path(path), out);
}

/* All other calls are the system's. */
#define MTWS_SYS(name) own_##name
#define own_clock_gettime clock_gettime
#define own_getenv getenv
#define own_nanosleep nanosleep
#define own_getrandom getrandom
#define own_getentropy getentropy
#define own_socket socket
#define own_fcntl fcntl
#define own_setsockopt setsockopt
#define own_getpeername getpeername
#define own_getsockname getsockname
#define own_getsockopt getsockopt
#define own_connect connect
#define own_bind bind
#define own_poll poll
#define own_recv recv
#define own_send send
#define own_ioctl ioctl
#define own_shutdown shutdown
#define own_close close
#define own_eventfd eventfd
#define own_pipe pipe
#define own_read read
#define own_write write
#define own_getifaddrs getifaddrs
#define own_freeifaddrs freeifaddrs
#define own_getaddrinfo getaddrinfo
#define own_freeaddrinfo freeaddrinfo
#define own_if_nametoindex if_nametoindex
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "loopback.h"
#include "message_of.h"

/* ---- files ----------------------------------------------------------------------------------- */

static void write_file(const char *name, const char *text) {
    FILE *file = fopen(file_path(name), "w");
    loopback_need(file != NULL, "a file");
    fputs(text, file);
    fclose(file);
}

static void remove_files(void) {
    unlink(file_path("/hosts"));
    unlink(file_path("/resolv.conf"));
}

/* ---- a name server --------------------------------------------------------------------------- */

typedef enum habit {
    ANSWERS,
    IS_SILENT,
    HAS_NO_SUCH_NAME,
    FAILS,
    TRUNCATES,   /* by UDP; the answer by TCP is whole */
    BREAKS_OFF,  /* the same, but TCP ends at once */
    LIES,        /* the same, but the answer by TCP is longer than any may be */
    TALKS,       /* a datagram that is longer than any may be, then the right answer */
    DEAF_TO_SIX, /* IPv6 is not answered */
    FORGES_FIRST /* many others answers, then the right one */
} habit;

typedef struct name_server {
    int udp, tcp, stream;
    int stranger; /* a socket at another port of the same host */
    uint16_t port;
    habit habit;
    bool four, six; /* has addresses of these families */
    uint8_t host;   /* of 127.0.0.host */
    unsigned questions, streams;
    uint16_t last_port; /* where the last question came from */
    unsigned same_port; /* how often the next one came from there, too */
} name_server;

static void server_open(name_server *s) {
    struct sockaddr_in address;
    socklen_t size = (socklen_t)sizeof address;
    memset(s, 0, sizeof *s);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->four = true;
    s->host = 1;
    s->stream = -1;
    for (int i = 0; i < 100; i++) { /* the same port for both */
        s->tcp = loopback_listen(&s->port, 5);
        s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        address.sin_port = htons(s->port);
        if (bind(s->udp, (const struct sockaddr *)&address, size) == 0) break;
        close(s->udp);
        close(s->tcp);
        s->udp = -1;
    }
    loopback_need(s->udp >= 0, "a port");
    s->stranger = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    loopback_need(s->stranger >= 0, "socket");
    fcntl(s->tcp, F_SETFL, O_NONBLOCK);
}

static void server_close(name_server *s) {
    close(s->udp);
    close(s->tcp);
    close(s->stranger);
    if (s->stream >= 0) close(s->stream);
}

/* What the server says to a question; false: nothing. */
static bool server_answer(name_server *s, const uint8_t *query, size_t size, bool stream, made *m) {
    bool six = made_type(query, size) == 28;
    if (s->habit == IS_SILENT || (s->habit == DEAF_TO_SIX && six)) return false;
    made_start(m, query, size, s->habit == FAILS ? 2 : s->habit == HAS_NO_SUCH_NAME ? 3 : 0);
    bool cuts = s->habit == TRUNCATES || s->habit == BREAKS_OFF || s->habit == LIES;
    if (cuts && !stream) {
        m->data[2] |= 2;
    } else if ((six ? s->six : s->four) && s->habit != FAILS && s->habit != HAS_NO_SUCH_NAME) {
        uint8_t four_bytes[4] = {127, 0, 0, s->host};
        uint8_t six_bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
        made_number(m, 2, 0xc00c);
        made_record(m, MADE_ANSWER, six ? 28 : 1, 60, six ? 16 : 4);
        made_bytes(m, six ? six_bytes : four_bytes, six ? 16 : 4);
    } else if (s->habit != FAILS) {
        made_soa(m, 60, 60);
    }
    return true;
}

static void server_datagrams(name_server *s) {
    static made m;
    uint8_t query[1500];
    struct sockaddr_in from;
    for (;;) {
        socklen_t size = (socklen_t)sizeof from;
        ssize_t got =
            recvfrom(s->udp, query, sizeof query, 0, (struct sockaddr *)(void *)&from, &size);
        if (got <= 0) return;
        s->questions++;
        s->same_port += from.sin_port == s->last_port;
        s->last_port = from.sin_port;
        if (!server_answer(s, query, (size_t)got, false, &m)) continue;
        if (s->habit == TALKS) {
            static uint8_t much[MTWS__DNS_UDP_MAX + 100];
            memcpy(much, m.data, m.size);
            much[m.size - 1] = 66; /* another address */
            sendto(s->udp, much, sizeof much, 0, (const struct sockaddr *)(void *)&from, size);
        }
        for (int i = 0; i < 40 && s->habit == FORGES_FIRST; i++) {
            made forged = m;
            forged.data[forged.size - 1] = 66; /* another address */
            forged.data[i % 2] ^= (uint8_t)(1 + i / 2);
            sendto(s->udp, forged.data, forged.size, 0, (const struct sockaddr *)(void *)&from,
                   size);
        }
        if (s->habit == FORGES_FIRST) { /* all is right but who says it */
            made forged = m;
            forged.data[forged.size - 1] = 66;
            sendto(s->stranger, forged.data, forged.size, 0, (const struct sockaddr *)(void *)&from,
                   size);
        }
        sendto(s->udp, m.data, m.size, 0, (const struct sockaddr *)(void *)&from, size);
    }
}

/* Whole messages behind their sizes. */
static void server_stream(name_server *s) {
    static made m;
    static uint8_t bytes[4096];
    int fd = accept(s->tcp, NULL, NULL);
    if (fd >= 0) {
        if (s->stream >= 0) close(s->stream);
        s->stream = fd;
        s->streams++;
        fcntl(fd, F_SETFL, O_NONBLOCK);
    }
    if (s->stream < 0) return;
    if (s->habit == BREAKS_OFF) {
        close(s->stream);
        s->stream = -1;
        return;
    }
    ssize_t got = recv(s->stream, bytes, sizeof bytes, 0);
    for (size_t at = 0; got > 0 && at < (size_t)got;) {
        size_t size = (size_t)mtws__load_big(bytes + at, 2);
        if (server_answer(s, bytes + at + 2, size, true, &m)) {
            uint8_t length[2];
            mtws__store_big(length, 2, s->habit == LIES ? 65535 : m.size);
            CHECK_INT(send(s->stream, length, 2, 0), 2);
            CHECK_INT(send(s->stream, m.data, m.size, 0), (intmax_t)m.size);
        }
        at += 2 + size;
    }
}

/* ---- a client's network ---------------------------------------------------------------------- */

static mtws__net net;
static mtws__random random_source;
static unsigned calls; /* of mtws__net_open */

static void start(const char *hosts, const char *resolv) {
    static const uint8_t seed[32] = {1};
    remove_files();
    if (hosts != NULL) write_file("/hosts", hosts);
    if (resolv != NULL) write_file("/resolv.conf", resolv);
    mtws__net_start(&net);
    mtws__random_seed(&random_source, seed);
    net.random = &random_source;
    net.now_us = 1000000;
}

/* The servers that are asked. */
static void use(const name_server *servers, int count) {
    char list[128] = "";
    for (int i = 0; i < count; i++) {
        size_t size = strlen(list);
        snprintf(list + size, sizeof list - size, "127.0.0.1:%u ", (unsigned)servers[i].port);
    }
    mtws__net_names(&net, MTWS_RESOLVER_OWN, list, 0);
}

enum { SILENCE_MS = 100 }; /* what was sent over the loopback has come long before */

/* Opens, the servers doing their work between; where nothing happens time passes. */
static int open_it(const char *host, uint16_t port, name_server *servers, int count) {
    int result = MTWS_IO_AGAIN;
    calls = 0;
    while (result == MTWS_IO_AGAIN && calls++ < 400) {
        mtws_wait wait;
        struct pollfd fds[MTWS_WAIT_MAX];
        result = mtws__net_open(&net, host, port, false);
        if (result != MTWS_IO_AGAIN) break;
        for (int i = 0; i < count; i++) {
            server_datagrams(&servers[i]);
            server_stream(&servers[i]);
        }
        memset(&wait, 0, sizeof wait);
        wait.timeout_ms = -1;
        mtws__net_wait(&net, false, false, &wait);
        CHECK(wait.count > 0 || wait.timeout_ms >= 0);
        CHECK(wait.count <= MTWS_WAIT_MAX - 2);
        for (int i = 0; i < wait.count; i++) {
            CHECK(wait.fds[i].want_read != wait.fds[i].want_write);
            fds[i].fd = wait.fds[i].fd;
            fds[i].events = wait.fds[i].want_read ? POLLIN : POLLOUT;
        }
        int ready = poll(fds, (nfds_t)wait.count, wait.timeout_ms == 0 ? 0 : SILENCE_MS);
        if (ready == 0 && wait.timeout_ms > 0) net.now_us += (uint64_t)wait.timeout_ms * 1000;
    }
    return result;
}

static void finish(void) {
    mtws__net_close(&net);
    mtws__net_sweep(&net);
    for (int i = 0; i < MTWS__NET_SOCKETS; i++) CHECK_INT(net.sockets[i].fd, -1);
    CHECK_INT(net.file, -1);
}

static uint16_t port;
static int listener;

/* ---- tests ----------------------------------------------------------------------------------- */

/* Literals and localhost ask nobody, and read no file. */
static void nobody_is_asked(void) {
    static const char *const hosts[] = {"127.0.0.1", "localhost", "a.b.localhost", "LocalHost.",
                                        "127.0.0.1."};
    for (size_t i = 0; i < UNIT_COUNT(hosts); i++) {
        start("10.0.0.1 localhost a.b.localhost\n", NULL);
        opens = stats = 0;
        test_context("%s", hosts[i]);
        CHECK_INT(open_it(hosts[i], port, NULL, 0), 0);
        close(loopback_accept(listener));
        CHECK_UINT(opens + stats, 0);
        CHECK(!net.asked);
        finish();
    }
}

static void hosts_file(void) {
    name_server server;
    server_open(&server);
    start("10.0.0.1 other\n127.0.0.1 h.example alias\n", NULL);
    use(&server, 1);
    CHECK_INT(open_it("h.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_UINT(server.questions, 0);
    finish();
    CHECK_INT(open_it("alias", port, &server, 1), 0);
    close(loopback_accept(listener));
    finish();
    /* It changes, and is read again. */
    write_file("/hosts", "127.0.0.1 third");
    CHECK_INT(open_it("third", port, &server, 1), 0);
    close(loopback_accept(listener));
    finish();
    CHECK_INT(open_it("alias", port, &server, 1), 0); /* which the server knows */
    close(loopback_accept(listener));
    CHECK_UINT(server.questions, 2);
    finish();
    /* A name that is blocked there is not asked for. */
    write_file("/hosts", "0.0.0.0 blocked");
    CHECK_INT(open_it("blocked", port, &server, 1), MTWS_ERR_RESOLVE);
    CHECK_STR(mtws__net_why(&net, MTWS_ERR_RESOLVE), "/etc/hosts says that it is nowhere");
    CHECK_UINT(server.questions, 2);
    finish();
    server_close(&server);
}

/* A large file is read in steps, each of which is bounded. */
static void large_hosts_file(void) {
    name_server server;
    server_open(&server);
    start("", NULL);
    use(&server, 1);
    FILE *file = fopen(file_path("/hosts"), "w");
    loopback_need(file != NULL, "a file");
    for (int i = 0; i < 40000; i++) fprintf(file, "0.0.0.0 ads%d.example # blocked\n", i);
    fprintf(file, "127.0.0.1 last.example");
    long size = ftell(file);
    fclose(file);
    CHECK_INT(open_it("last.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    unsigned step = MTWS__NET_FILE_READS * MTWS__NET_FILE_SIZE;
    CHECK(calls >= (unsigned)size / step && calls <= (unsigned)size / step + 4);
    CHECK_UINT(server.questions, 0);
    finish();
    /* An attempt may end in its midst. */
    CHECK_INT(mtws__net_open(&net, "last.example", port, false), MTWS_IO_AGAIN);
    int fd = net.file;
    CHECK(fd >= 0 && loopback_is_open(fd));
    finish();
    CHECK(!loopback_is_open(fd));
    server_close(&server);
}

/* Both families at once, each question from a port that nobody knows. */
static void by_name_server(void) {
    name_server server;
    server_open(&server);
    start("", "search a.b\n");
    use(&server, 1);
    for (int i = 0; i < 6; i++) {
        char host[32];
        snprintf(host, sizeof host, "h%d.example", i);
        CHECK_INT(open_it(host, port, &server, 1), 0);
        close(loopback_accept(listener));
        CHECK_UINT(server.questions, 2u * (unsigned)i + 2);
        finish();
    }
    CHECK(server.same_port <= 6 + 1);
    CHECK_INT(open_it("h5.example", port, &server, 1), 0); /* known */
    close(loopback_accept(listener));
    CHECK_UINT(server.questions, 12);
    finish();
    server_close(&server);
}

static void failures(void) {
    static const struct {
        habit habit;
        const char *why;
        bool timed;
    } rows[] = {
        {IS_SILENT, "no name server answered", true},
        {HAS_NO_SUCH_NAME, "there is no such name", false},
        {FAILS, "the name servers could not resolve it", false},
        {ANSWERS, "the name has no address", false},
        {BREAKS_OFF, "the name servers could not resolve it", false},
        {LIES, "the name servers could not resolve it", false},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        name_server server;
        server_open(&server);
        server.habit = rows[i].habit;
        server.four = server.six = false;
        start("", "");
        use(&server, 1);
        test_context("%s", rows[i].why);
        CHECK_INT(open_it("h.example", port, &server, 1), MTWS_ERR_RESOLVE);
        CHECK_STR(mtws__net_why(&net, MTWS_ERR_RESOLVE), rows[i].why);
        CHECK_UINT(net.now_us, rows[i].timed ? 5000000 : 1000000);
        finish();
        server_close(&server);
    }
    start("", "");
    CHECK_INT(open_it("1.2.3", port, NULL, 0), MTWS_ERR_RESOLVE);
    CHECK_STR(mtws__net_why(&net, MTWS_ERR_RESOLVE),
              "a name that ends with a number is not looked up");
    finish();
    CHECK_INT(open_it("a..b", port, NULL, 0), MTWS_ERR_RESOLVE);
    CHECK_STR(mtws__net_why(&net, MTWS_ERR_RESOLVE), "it is no name that can be looked up");
    finish();
}

/* RFC 7686 section 2: no name server hears of a name under onion, though hosts may have it. */
static void onion(void) {
    static const char *const hosts[] = {"abc.onion", "a.b.ONION.", "onion", "a.onion.example",
                                        "aonion"};
    for (size_t i = 0; i < UNIT_COUNT(hosts); i++) {
        name_server server;
        server_open(&server);
        start("127.0.0.1 here.onion\n", "");
        use(&server, 1);
        test_context("%s", hosts[i]);
        CHECK_INT(open_it(hosts[i], port, &server, 1), i < 3 ? MTWS_ERR_RESOLVE : 0);
        CHECK_INT(net.asked, i >= 3);
        const char *why = mtws__net_why(&net, MTWS_ERR_RESOLVE);
        if (i < 3) CHECK_TEXT(strstr(why, "onion") != NULL, "\"%s\"", why);
        else close(loopback_accept(listener));
        finish();
        CHECK_INT(open_it("here.onion", port, &server, 1), 0);
        close(loopback_accept(listener));
        finish();
        server_close(&server);
    }
}

static void truncated(void) {
    name_server server;
    server_open(&server);
    server.habit = TRUNCATES;
    start("", "");
    use(&server, 1);
    CHECK_INT(open_it("h.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_UINT(server.streams, 1);
    CHECK_UINT(net.now_us, 1000000);
    finish();
    server_close(&server);
}

/* FAULTS row 36: an answer that came in time counts, however late it is looked at. (A stream that is
 * connected and has not asked yet is given up, and another one asks.) */
static void looked_at_late(void) {
    static const uint64_t late_us[] = {2000000, 60000000, UINT64_C(28800000000)};
    for (size_t i = 0; i < 8 * UNIT_COUNT(late_us); i++) {
        bool stream = i % 8 >= 4;
        name_server server;
        server_open(&server);
        if (stream) server.habit = TRUNCATES;
        start("", "");
        use(&server, 1);
        int result = MTWS_IO_AGAIN;
        for (size_t k = 0; k < 50 && result == MTWS_IO_AGAIN; k++) {
            result = mtws__net_open(&net, "h.example", port, false);
            server_datagrams(&server);
            server_stream(&server);
            poll(NULL, 0, 1);
            if (k == i % 4) net.now_us += late_us[i / 8];
        }
        test_context("%" PRIu64 " us behind call %zu, stream %d", late_us[i / 8], i % 4, stream);
        if (CHECK_INT(result, 0)) close(loopback_accept(listener));
        CHECK_RANGE(server.questions, 2, stream && i % 4 == 1 ? 4 : 2);
        finish();
        server_close(&server);
    }
}

/* FAULTS row 67, and a flood of it: the right answer is found behind, and no call reads more than
 * its share. */
static void forged(void) {
    name_server server;
    server_open(&server);
    server.habit = FORGES_FIRST;
    start("", "");
    use(&server, 1);
    CHECK_INT(open_it("h.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_UINT(net.known[0].bytes[3], 1);
    CHECK(calls > 40 / MTWS__NET_READS);
    finish();
    server_close(&server);
}

/* A datagram that is longer than the client said it would take is none of its answers. */
static void too_long_a_datagram(void) {
    name_server server;
    server_open(&server);
    server.habit = TALKS;
    start("", "");
    use(&server, 1);
    CHECK_INT(open_it("h.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_UINT(net.known[0].bytes[3], 1);
    finish();
    server_close(&server);
}

/* What a timeout would say: while one family is known it is the connection that is awaited. */
static void awaited(void) {
    name_server server;
    server_open(&server);
    server.habit = DEAF_TO_SIX;
    start("", "");
    use(&server, 1);
    while (net.stage < MTWS__NET_ASKING) {
        CHECK_INT(mtws__net_open(&net, "h.example", port, false), MTWS_IO_AGAIN);
    }
    CHECK_STR(mtws__net_awaits(&net), "answer from a name server");
    loopback_wait(server.udp, POLLIN);
    server_datagrams(&server);
    server_datagrams(&server);
    loopback_wait(net.sockets[MTWS__RUNNERS_MAX].fd, POLLIN);
    CHECK_INT(mtws__net_open(&net, "h.example", port, false), MTWS_IO_AGAIN);
    CHECK_INT(net.stage, MTWS__NET_ASKING);
    CHECK_INT(net.race.count, 1);
    CHECK_STR(mtws__net_awaits(&net), "connection");
    CHECK_INT(open_it("h.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    finish();
    server_close(&server);
}

/* A dead server first, then nobody at the port (which the system tells), then one that answers. */
static void in_turn(void) {
    name_server servers[3];
    for (int i = 0; i < 3; i++) server_open(&servers[i]);
    servers[0].habit = IS_SILENT;
    close(servers[1].udp);
    servers[1].udp = open(file_path("/hosts"), O_RDONLY);
    start("", "");
    use(servers, 3);
    CHECK_INT(open_it("h.example", port, servers, 3), 0);
    close(loopback_accept(listener));
    CHECK_UINT(net.now_us, 3000000);
    CHECK_UINT(servers[2].questions, 2);
    finish();
    for (int i = 0; i < 3; i++) server_close(&servers[i]);
}

/* resolv.conf is read where it has changed, and not where it has not. */
static void configuration(void) {
    name_server server;
    char text[64];
    server_open(&server);
    start("", "search one.example\n");
    use(&server, 1);
    CHECK_INT(open_it("h", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_STR(net.dns.name, "h.one.example");
    finish();
    opens = 0;
    CHECK_INT(open_it("i", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_UINT(opens, 1); /* hosts */
    finish();
    net.now_us += 10000000;
    snprintf(text, sizeof text, "search other.example\noptions timeout:1\n");
    write_file("/resolv.conf", text);
    CHECK_INT(open_it("h", port, &server, 1), 0); /* in spite of the cache */
    close(loopback_accept(listener));
    CHECK_STR(net.dns.name, "h.other.example");
    CHECK_UINT(net.dns.config.timeout_ms, 1000);
    CHECK_INT(net.dns.config.servers[0].port, server.port);
    finish();
    /* What can't be read now is read later, and until then what was known counts. */
    write_file("/resolv.conf", "search third.example\n");
    no_descriptors = true;
    CHECK_INT(open_it("j", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_STR(net.dns.name, "j.other.example");
    finish();
    no_descriptors = false;
    net.now_us += 10000000;
    CHECK_INT(open_it("k", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_STR(net.dns.name, "k.third.example");
    finish();
    /* Without a file, and without options: the server on this machine. */
    start(NULL, NULL);
    mtws__net_open(&net, "h.example", port, false);
    CHECK_INT(net.dns.config.server_count, 1);
    CHECK_UINT(net.dns.config.servers[0].ip.bytes[0], 127);
    CHECK_UINT(net.dns.config.servers[0].port, 53);
    finish();
    start(NULL, "nameserver 127.0.0.7\nnameserver ::1\noptions rotate\n");
    mtws__net_open(&net, "h.example", port, false);
    CHECK_INT(net.dns.config.server_count, 2);
    CHECK_UINT(net.dns.config.servers[0].ip.bytes[3], 7);
    finish();
    server_close(&server);
}

/* An address that changes between attempts: it is asked for anew where the old one led to
 * nothing, at most each MTWS_DNS_TTL_MIN seconds. */
static void address_changes(void) {
    name_server server;
    server_open(&server);
    start("", "");
    use(&server, 1);
    CHECK_INT(open_it("h.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    finish();
    server.host = 9; /* but the cache still says 127.0.0.1, and that works */
    net.now_us += 10000000;
    CHECK_INT(open_it("h.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_UINT(server.questions, 2);
    mtws__net_doubt(&net); /* the upgrade was refused, say */
    finish();
    CHECK_INT(open_it("h.example", port, &server, 1), MTWS_ERR_CONNECT); /* nobody at 127.0.0.9 */
    CHECK_UINT(server.questions, 4);
    CHECK_UINT(net.known[0].bytes[3], 9);
    finish();
    server.host = 1;
    CHECK_INT(open_it("h.example", port, &server, 1), MTWS_ERR_CONNECT); /* asked just now */
    CHECK_UINT(server.questions, 4);
    finish();
    net.now_us += MTWS_DNS_TTL_MIN * 1000000;
    CHECK_INT(open_it("h.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_UINT(server.questions, 6);
    finish();
    server_close(&server);
}

/* The servers are gone, and what they said once still serves. */
static void stale(void) {
    name_server server;
    server_open(&server);
    start("", "");
    use(&server, 1);
    CHECK_INT(open_it("h.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK(!mtws__net_is_stale(&net));
    finish();
    server.habit = IS_SILENT;
    net.now_us += 100000000;
    uint64_t before_us = net.now_us;
    CHECK_INT(open_it("h.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_UINT(net.now_us - before_us, 2000000);
    CHECK(mtws__net_is_stale(&net));
    CHECK(!mtws__net_is_stale(&net)); /* said once */
    finish();
    CHECK_INT(open_it("h.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_UINT(net.now_us - before_us, 2000000);
    CHECK(mtws__net_is_stale(&net));
    finish();
    server_close(&server);
}

/* A connection is made while the other family's answer is still awaited, and closes its socket. */
static void one_family_is_enough(void) {
    name_server server;
    server_open(&server);
    server.six = true; /* ::1, where nobody listens */
    start("", "");
    use(&server, 1);
    CHECK_INT(open_it("h.example", port, &server, 1), 0);
    close(loopback_accept(listener));
    CHECK_INT(net.family, MTWS__IPV4);
    CHECK_INT(net.known_count, 2);
    CHECK_UINT(net.now_us, 1000000);
    finish();
    server_close(&server);
}

/* Every descriptor that an event loop knows stays open until the next poll. */
static void retired(void) {
    name_server servers[3];
    for (int i = 0; i < 3; i++) {
        server_open(&servers[i]);
        servers[i].habit = IS_SILENT;
    }
    start("", "");
    use(servers, 3);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(mtws__net_open(&net, "h.example", port, false), MTWS_IO_AGAIN);
        net.now_us += 2000000;
    }
    mtws__net_show(&net);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = net.sockets[MTWS__RUNNERS_MAX + i].fd;
        CHECK(loopback_is_open(fds[i]) && loopback_is_cloexec(fds[i]));
        CHECK(loopback_is_nonblocking(fds[i]));
    }
    mtws__net_close(&net);
    for (int i = 0; i < 3; i++) CHECK(loopback_is_open(fds[i]));
    CHECK_INT(net.retired_count, 3);
    mtws__net_sweep(&net);
    for (int i = 0; i < 3; i++) CHECK(!loopback_is_open(fds[i]));
    finish();
    for (int i = 0; i < 3; i++) server_close(&servers[i]);
}

/* ---- a whole client -------------------------------------------------------------------------- */

static uint64_t virtual_us;

static uint64_t virtual_now(void *ctx) {
    (void)ctx;
    return virtual_us;
}

static char logged[4096];

static void log_line(void *ctx, mtws_level level, const char *item, const char *text) {
    (void)ctx;
    size_t size = strlen(logged);
    snprintf(logged + size, sizeof logged - size, "%d %s: %s\n", (int)level, item, text);
}

/* All name servers are black holes: no call waits, each does a bounded piece of work, and the
 * attempts fail on schedule. FAULTS row 66. */
static void black_holes(void) {
    name_server servers[3];
    mtws_options options;
    mtws_client *ws = NULL;
    mtws_event e;
    char list[128] = "";
    unsigned errors = 0, resolve = 0;
    uint64_t first_us = 0;
    for (int i = 0; i < 3; i++) {
        server_open(&servers[i]);
        servers[i].habit = IS_SILENT;
        size_t size = strlen(list);
        snprintf(list + size, sizeof list - size, "127.0.0.1:%u ", (unsigned)servers[i].port);
    }
    start("", "");
    memset(&options, 0, sizeof options);
    options.clock.now_us = options.clock.unix_ms = virtual_now;
    options.dns_servers = list;
    options.max_reconnect_attempts = 2;
    options.max_message_size = options.max_queue_size = 1000;
    virtual_us = 1000000;
    CHECK_INT(mtws_create(&ws, &options), MTWS_OK);
    mtws_options resolved;
    mtws_get_options(ws, &resolved);
    CHECK(resolved.dns_servers == NULL && resolved.resolver == MTWS_RESOLVER_OWN);
    CHECK_INT(mtws_connect(ws, "ws://h.example:9/", NULL), MTWS_OK);
    int result = 0;
    for (int i = 0; i < 6000 && result != MTWS_ERR_IDLE; i++) {
        while ((result = mtws_poll(ws, &e, 0)) == 1) {
            if (e.type != MTWS_EVENT_STATE || e.state != MTWS_STATE_ERROR) continue;
            errors++;
            resolve += e.result == MTWS_ERR_RESOLVE;
            if (first_us == 0) first_us = virtual_us;
            CHECK_STR(e.reason, "h.example, port 9: no name server answered");
        }
        virtual_us += 10000;
    }
    CHECK_INT(mtws_get_state(ws), MTWS_STATE_FAILED);
    CHECK_UINT(errors, 3);
    CHECK_UINT(resolve, 3);
    CHECK_RANGE(first_us, 13000000, 13100000); /* three servers, two rounds, two seconds each */
    /* Three attempts, and between them delays of at most three times 1 and 1.5 seconds. */
    CHECK_RANGE(virtual_us - 1000000, 3 * 12000000, 3 * 12000000 + 7500000 + 300000);
    mtws_destroy(ws);
    for (int i = 0; i < 3; i++) server_close(&servers[i]);
}

/* The connect timeout says what it waited for, and a stale answer is told in the log. */
static void said_to_people(void) {
    name_server server;
    mtws_options options;
    mtws_client *ws = NULL;
    mtws_event e;
    char list[64], url[64];
    bool timed_out = false, connecting = false;
    server_open(&server);
    server.habit = IS_SILENT;
    snprintf(list, sizeof list, "127.0.0.1:%u", (unsigned)server.port);
    snprintf(url, sizeof url, "ws://h.example:%u/", (unsigned)port);
    start("", "");
    memset(&options, 0, sizeof options);
    options.clock.now_us = options.clock.unix_ms = virtual_now;
    options.dns_servers = list;
    options.connect_timeout_ms = 1000;
    options.max_reconnect_attempts = MTWS_UNLIMITED;
    options.max_message_size = options.max_queue_size = 1000;
    options.logger.log = log_line;
    logged[0] = 0;
    virtual_us = 1000000;
    CHECK_INT(mtws_create(&ws, &options), MTWS_OK);
    CHECK_INT(mtws_connect(ws, url, NULL), MTWS_OK);
    for (int i = 0; i < 2000 && !timed_out; i++) {
        while (mtws_poll(ws, &e, 0) == 1) {
            if (e.state == MTWS_STATE_ERROR) {
                timed_out = true;
                CHECK_INT(e.result, MTWS_ERR_TIMEOUT);
                CHECK(strstr(e.reason, "no answer from a name server within") != NULL);
            }
        }
        virtual_us += 10000;
    }
    CHECK(timed_out);
    server.habit = ANSWERS;
    for (int turn = 0; turn < 2; turn++) { /* a look-up that succeeds, then one with dead servers */
        connecting = false;
        for (int i = 0; i < 3000 && !connecting; i++) {
            while (mtws_poll(ws, &e, 0) == 1) {
            }
            server_datagrams(&server);
            struct pollfd p = {listener, POLLIN, 0};
            connecting = poll(&p, 1, 0) == 1;
            virtual_us += 10000;
        }
        CHECK(connecting);
        CHECK_INT(strstr(logged, "2 dns_stale: ") != NULL, turn == 1);
        close(loopback_accept(listener)); /* the upgrade fails */
        server.habit = FAILS;
        virtual_us += 100000000;
    }
    mtws_destroy(ws);
    server_close(&server);
}

static void options(void) {
    static const char *const good[] = {"9.9.9.9", "9.9.9.9, [2620:fe::fe]:53 ::1"};
    static const char *const bad[] = {"", "dns.example", "9.9.9.9 9.9.9.9 9.9.9.9 9.9.9.9"};
    mtws_options o;
    mtws_client *ws;
    for (size_t i = 0; i < UNIT_COUNT(good); i++) {
        memset(&o, 0, sizeof o);
        o.dns_servers = good[i];
        CHECK(mtws_memory_required(&o) > 0);
    }
    for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
        memset(&o, 0, sizeof o);
        o.dns_servers = bad[i];
        CHECK_UINT(mtws_memory_required(&o), 0);
        CHECK_INT(mtws_create(&ws, &o), MTWS_ERR_ARGUMENT);
    }
    memset(&o, 0, sizeof o);
    o.dns_timeout_ms = -1;
    CHECK_UINT(mtws_memory_required(&o), 0);
    o.dns_timeout_ms = 1;
    CHECK(mtws_memory_required(&o) > 0);
    o.resolver = (mtws_resolver)2;
    CHECK_UINT(mtws_memory_required(&o), 0);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(nobody_is_asked),
        TEST(hosts_file),
        TEST(large_hosts_file),
        TEST(by_name_server),
        TEST(failures),
        TEST(looked_at_late),
        TEST(onion),
        TEST(truncated),
        TEST(forged),
        TEST(in_turn),
        TEST(configuration),
        TEST(address_changes),
        TEST(stale),
        TEST(one_family_is_enough),
        TEST(retired),
        TEST(black_holes),
        TEST(said_to_people),
        TEST(options),
        TEST(awaited),
        TEST(too_long_a_datagram),
    };
    snprintf(files_at, sizeof files_at, P_tmpdir "/mtws-lookup-XXXXXX");
    loopback_need(mkdtemp(files_at) != NULL, "mkdtemp");
    listener = loopback_listen(&port, 50);
    int status = TEST_MAIN(tests, argc, argv);
    close(listener);
    remove_files();
    rmdir(files_at);
    return status;
}
