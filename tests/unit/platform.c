/* The room "platform" on the real system: sockets on the loopback, clocks, entropy, wake-ups. What
 * only failing calls can show is in faults.c. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "loopback.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

static mtws__address address_of(const char *host, uint16_t port) {
    mtws__address list[MTWS__ADDRESSES_MAX];
    int count = 0;
    loopback_need(mtws__os_resolve(host, port, list, &count) == 0 && count > 0, host);
    return list[0];
}

/* A connected pair: *server is the test's side. */
static int connected(int *server) {
    uint16_t port;
    int listener = loopback_listen(&port, 5), fd = mtws__os_socket(AF_INET);
    mtws__address address = address_of("127.0.0.1", port);
    loopback_need(fd >= 0, "mtws__os_socket");
    int error = mtws__os_connect(fd, &address);
    if (error == EINPROGRESS) {
        CHECK(loopback_wait(fd, POLLOUT));
        error = mtws__os_connected(fd);
    }
    CHECK_INT(error, 0);
    *server = loopback_accept(listener);
    close(listener);
    return fd;
}

static void clocks(void) {
    uint64_t before = mtws__os_now_us();
    for (int i = 0; i < 10000; i++) {
        uint64_t now = mtws__os_now_us();
        CHECK(now >= before);
        before = now;
    }
    poll(NULL, 0, 20);
    uint64_t passed = mtws__os_now_us() - before;
    CHECK(passed >= 19000 && passed < 5000000);
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    uint64_t ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000;
    CHECK(mtws__os_unix_ms() - ms < 5000);
}

static void entropy(void) {
    uint8_t a[256], b[256];
    unsigned seen[256] = {0}, values = 0;
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    CHECK(mtws__os_entropy(a, sizeof a));
    CHECK(mtws__os_entropy(b, sizeof b));
    CHECK(memcmp(a, b, sizeof a) != 0);
    for (size_t i = 0; i < sizeof a; i++) seen[a[i]]++;
    for (size_t i = 0; i < 256; i++) values += seen[i] > 0;
    CHECK(values > 100); /* 162 are to be expected */
}

/* FAULTS row 54, and what makes a socket fast. */
static void sockets(void) {
    static const int families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < UNIT_COUNT(families); i++) {
        int fd = mtws__os_socket(families[i]), on = 0;
        socklen_t size = (socklen_t)sizeof on;
        if (fd < 0 && errno == EAFNOSUPPORT) continue;
        if (!CHECK(fd >= 0)) return;
        CHECK(loopback_is_cloexec(fd));
        CHECK(loopback_is_nonblocking(fd));
        CHECK(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &size) == 0 && on != 0);
#ifdef TCP_NOTSENT_LOWAT
        CHECK(getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &on, &size) == 0);
        CHECK_INT(on, MTWS__NOTSENT_SIZE);
#endif
        mtws__os_close(fd);
        CHECK(!loopback_is_open(fd));
    }
    CHECK_INT(mtws__os_socket(-1), -1);
}

/* What a child process sees after exec: none of ours. */
static void not_inherited(void) {
    int server, fd = connected(&server), wake[2], status = -1;
    CHECK(mtws__os_wake_open(wake));
    int watch = mtws__os_watch_open();
    CHECK(loopback_is_cloexec(fd) && loopback_is_cloexec(wake[0]) && loopback_is_cloexec(wake[1]));
    if (watch >= 0) CHECK(loopback_is_cloexec(watch));
    char command[200];
    snprintf(command, sizeof command,
             "for fd in %d %d %d %d; do if (: <&$fd) 2>/dev/null; then exit 1; fi; done; exit 0",
             fd, wake[0], wake[1], watch < 0 ? fd : watch);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(2);
    }
    if (CHECK(child > 0)) {
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    if (watch >= 0) close(watch);
    mtws__os_wake_close(wake);
    close(fd);
    close(server);
}

static void refused(void) {
    uint16_t port;
    int holder = loopback_nobody(&port), fd = mtws__os_socket(AF_INET);
    mtws__address address = address_of("127.0.0.1", port);
    int error = mtws__os_connect(fd, &address);
    if (error == EINPROGRESS) {
        CHECK(loopback_wait(fd, POLLOUT));
        error = mtws__os_connected(fd);
    }
    CHECK_INT(error, ECONNREFUSED);
    close(fd);
    close(holder);
}

/* What the system does by chance where it draws the port that is asked for: a socket that is bound
 * to it does it for certain. */
static void to_itself(void) {
    uint16_t port;
    int self = loopback_nobody(&port), server, fd = connected(&server);
    mtws__address address = address_of("127.0.0.1", port);
    CHECK(!mtws__os_is_self(self)); /* not yet */
    CHECK_INT(mtws__os_connect(self, &address), 0);
    CHECK(mtws__os_is_self(self));
    CHECK(!mtws__os_is_self(fd));
    CHECK(!mtws__os_is_self(-1));
    close(self);
    close(fd);
    close(server);
}

/* A connect that stays under way: the listener takes no more. */
static void under_way(void) {
    uint16_t port;
    int listener = loopback_listen(&port, 0), fds[8], count = 0, error = 0;
    mtws__address address = address_of("127.0.0.1", port);
    while (count < 8 && error == 0) {
        fds[count] = mtws__os_socket(AF_INET);
        error = mtws__os_connect(fds[count], &address);
        if (error == EINPROGRESS && loopback_is_open(fds[count])) {
            struct pollfd p = {fds[count], POLLOUT, 0};
            if (poll(&p, 1, 100) == 1) error = mtws__os_connected(fds[count]);
        }
        count++;
    }
    CHECK_INT(error, EINPROGRESS);
    CHECK_INT(mtws__os_connected(fds[count - 1]), EINPROGRESS);
    while (count > 0) close(fds[--count]);
    close(listener);
}

static void sending_and_receiving(void) {
    int server, fd = connected(&server);
    uint8_t bytes[64];
    CHECK_INT(mtws__os_receive(fd, bytes, sizeof bytes), -EAGAIN);
    CHECK_INT(mtws__os_send(fd, "hello", 5), 5);
    CHECK(loopback_wait(server, POLLIN));
    CHECK_INT(recv(server, bytes, sizeof bytes, 0), 5);
    CHECK_MEM(bytes, "hello", 5);
    CHECK_INT(send(server, "world!", 6, 0), 6);
    CHECK(loopback_wait(fd, POLLIN));
    CHECK_INT(mtws__os_receive(fd, bytes, 4), 4);
    CHECK_MEM(bytes, "worl", 4);
    CHECK_INT(mtws__os_receive(fd, bytes, sizeof bytes), 2);
    CHECK_INT(mtws__os_receive(fd, bytes, sizeof bytes), -EAGAIN);
    close(server);
    CHECK(loopback_wait(fd, POLLIN));
    CHECK_INT(mtws__os_receive(fd, bytes, sizeof bytes), 0);
    close(fd);
}

/* Until there is no room: -EAGAIN, never a wait; what the kernel holds can be seen. */
static void no_room(void) {
    static uint8_t bytes[100000];
    int server, fd = connected(&server);
    size_t sent = 0;
    ptrdiff_t put;
    while ((put = mtws__os_send(fd, bytes, sizeof bytes)) > 0 && sent < 100000000)
        sent += (size_t)put;
    CHECK_INT(put, -EAGAIN);
    size_t unsent = mtws__os_unsent(fd);
    CHECK(unsent > 0 && unsent <= sent);
    for (size_t got = 0; got < sent;) {
        ssize_t part = recv(server, bytes, sizeof bytes, 0);
        if (!CHECK(part > 0)) break;
        got += (size_t)part;
    }
    for (int i = 0; i < 500 && mtws__os_unsent(fd) > 0; i++) poll(NULL, 0, 10);
    CHECK_UINT(mtws__os_unsent(fd), 0);
    close(server);
    close(fd);
    CHECK_UINT(mtws__os_unsent(fd), 0);
}

static volatile sig_atomic_t signals;

static void count_signal(int number) {
    (void)number;
    signals++;
}

/* FAULTS row 47: writing to a peer that is gone raises no signal and touches no handler. */
static void no_sigpipe(void) {
    struct sigaction mine, before, after;
    memset(&mine, 0, sizeof mine);
    mine.sa_handler = count_signal;
    sigemptyset(&mine.sa_mask);
    sigaction(SIGPIPE, &mine, &before);
    signals = 0;
    int server, fd = connected(&server);
    loopback_reset(server);
    ptrdiff_t put = 0;
    for (int i = 0; i < 100 && put >= 0; i++) {
        put = mtws__os_send(fd, "x", 1);
        poll(NULL, 0, 1);
    }
    CHECK(put == -ECONNRESET || put == -EPIPE);
    for (int i = 0; i < 3; i++) put = mtws__os_send(fd, "x", 1);
    CHECK_INT(put, -EPIPE);
    CHECK_INT(signals, 0);
    sigaction(SIGPIPE, NULL, &after);
    CHECK(after.sa_handler == count_signal);
    sigaction(SIGPIPE, &before, NULL);
    close(fd);
}

static void shutting_down(void) {
    int server, fd = connected(&server);
    char byte;
    mtws__os_shutdown(fd, false);
    CHECK(loopback_wait(server, POLLIN));
    CHECK_INT(recv(server, &byte, 1, 0), 0);
    CHECK_INT(send(server, "x", 1, 0), 1); /* the other direction goes on */
    CHECK(loopback_wait(fd, POLLIN));
    CHECK_INT(mtws__os_receive(fd, &byte, 1), 1);
    mtws__os_shutdown(fd, true);
    CHECK_INT(mtws__os_receive(fd, &byte, 1), 0);
    close(server);
    close(fd);
}

/* FAULTS row 48: a storm of signals ends a wait with -1, and hurts nothing else. */
static void signal_storm(void) {
    struct sigaction mine;
    struct itimerval storm = {{0, 500}, {0, 500}}, calm = {{0, 0}, {0, 0}};
    int server, fd = connected(&server), interrupted = 0;
    memset(&mine, 0, sizeof mine);
    mine.sa_handler = count_signal; /* without SA_RESTART */
    sigemptyset(&mine.sa_mask);
    sigaction(SIGALRM, &mine, NULL);
    signals = 0;
    setitimer(ITIMER_REAL, &storm, NULL);
    for (int i = 0; i < 2000; i++) {
        struct pollfd p = {fd, POLLIN, 0};
        uint8_t bytes[32];
        if (i < 20) interrupted += mtws__os_poll(&p, 1, 20) == -1;
        CHECK(mtws__os_entropy(bytes, sizeof bytes));
        CHECK_INT(mtws__os_send(fd, bytes, sizeof bytes), 32);
        ssize_t got = recv(server, bytes, sizeof bytes, MSG_WAITALL);
        CHECK(got > 0 || errno == EINTR);
        CHECK_INT(mtws__os_receive(fd, bytes, sizeof bytes), -EAGAIN);
        if (test_failing()) break;
    }
    setitimer(ITIMER_REAL, &calm, NULL);
    signal(SIGALRM, SIG_IGN); /* an emulator may still hold the last one back */
    CHECK(signals > 5);
    CHECK(interrupted > 0);
    close(server);
    close(fd);
}

static void waiting(void) {
    int server, fd = connected(&server);
    struct pollfd p = {fd, POLLIN, 0};
    CHECK_INT(mtws__os_poll(&p, 1, 0), 0);
    uint64_t before = mtws__os_now_us();
    CHECK_INT(mtws__os_poll(&p, 1, 30), 0);
    CHECK(mtws__os_now_us() - before >= 29000);
    CHECK_INT(send(server, "x", 1, 0), 1);
    CHECK_INT(mtws__os_poll(&p, 1, LOOPBACK_WAIT_MS), 1);
    CHECK(p.revents == POLLIN);
    close(server);
    close(fd);
}

/* Wake-ups merge, none is lost, and errno stays. */
static void waking(void) {
    int fds[2];
    if (!CHECK(mtws__os_wake_open(fds))) return;
    CHECK(loopback_is_cloexec(fds[0]) && loopback_is_cloexec(fds[1]));
    CHECK(loopback_is_nonblocking(fds[0]) && loopback_is_nonblocking(fds[1]));
    CHECK(!mtws__os_woken(fds[0]));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1 + 1000 * round; i++) {
            errno = 12345;
            mtws__os_wake(fds[1]);
            CHECK_INT(errno, 12345);
        }
        struct pollfd p = {fds[0], POLLIN, 0};
        CHECK_INT(mtws__os_poll(&p, 1, 0), 1);
        CHECK(mtws__os_woken(fds[0]));
        CHECK(!mtws__os_woken(fds[0]));
        CHECK_INT(mtws__os_poll(&p, 1, 0), 0);
    }
    mtws__os_wake_close(fds);
    CHECK(!loopback_is_open(fds[0]) && !loopback_is_open(fds[1]));
    int none[2] = {-1, -1};
    mtws__os_wake_close(none);
}

/* FAULTS row 53: numbers that select() could not take. */
static void descriptors_over_1024(void) {
    enum { COUNT = 1100 };
    static int held[COUNT];
    struct rlimit limit, before;
    int count = 0, top = -1;
    loopback_need(getrlimit(RLIMIT_NOFILE, &before) == 0, "getrlimit");
    limit = before;
    if (limit.rlim_cur < COUNT + 100) limit.rlim_cur = COUNT + 100;
    if (!CHECK_TEXT(setrlimit(RLIMIT_NOFILE, &limit) == 0, "the hard limit is under %d",
                    COUNT + 100)) {
        return;
    }
    while (top <= 1024 && count < COUNT) top = held[count++] = dup(2);
    CHECK(top > 1024);
    int server, fd = connected(&server), wake[2];
    uint8_t byte;
    CHECK(fd > 1024);
    CHECK_INT(mtws__os_send(fd, "x", 1), 1);
    CHECK(loopback_wait(server, POLLIN));
    CHECK_INT(send(server, "y", 1, 0), 1);
    struct pollfd p = {fd, POLLIN, 0};
    CHECK_INT(mtws__os_poll(&p, 1, LOOPBACK_WAIT_MS), 1);
    CHECK_INT(mtws__os_receive(fd, &byte, 1), 1);
    CHECK(mtws__os_wake_open(wake));
    CHECK(wake[0] > 1024);
    mtws__os_wake(wake[1]);
    CHECK(mtws__os_woken(wake[0]));
    mtws__os_wake_close(wake);
    close(server);
    close(fd);
    while (count > 0) close(held[--count]);
    setrlimit(RLIMIT_NOFILE, &before);
}

static void resolving(void) {
    static const struct {
        const char *host;
        int family;
        const char *text;
        bool loopback;
    } rows[] = {
        {"127.0.0.1", AF_INET, "127.0.0.1", true},
        {"127.255.3.4", AF_INET, "127.255.3.4", true},
        {"192.0.2.7", AF_INET, "192.0.2.7", false},
        {"128.0.0.1", AF_INET, "128.0.0.1", false},
        {"0.0.0.0", AF_INET, "0.0.0.0", true},
        {"0.0.0.1", AF_INET, "0.0.0.1", false},
        {"::1", AF_INET6, "::1", true},
        {"::", AF_INET6, "::", true},
        {"::2", AF_INET6, "::2", false},
        {"::ffff:127.0.0.9", AF_INET6, "::ffff:127.0.0.9", true},
        {"::ffff:192.0.2.7", AF_INET6, "::ffff:192.0.2.7", false},
        {"::ffff:7f00:1", AF_INET6, "::ffff:127.0.0.1", true},
        {"::fffe:7f00:1", AF_INET6, "::fffe:7f00:1", false},
        {"2001:db8::5", AF_INET6, "2001:db8::5", false},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        mtws__address list[MTWS__ADDRESSES_MAX + 1];
        int count = 77;
        char text[64] = "";
        memset(list, 0x5a, sizeof list);
        test_context("%s", rows[i].host);
        CHECK_INT(mtws__os_resolve(rows[i].host, 9001, list, &count), 0);
        if (!CHECK_INT(count, 1)) continue;
        CHECK_INT(list[0].storage.ss_family, rows[i].family);
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&list[0].storage;
        const struct sockaddr_in6 *in6 =
            (const struct sockaddr_in6 *)(const void *)&list[0].storage;
        bool six = rows[i].family == AF_INET6;
        CHECK_UINT(ntohs(six ? in6->sin6_port : in->sin_port), 9001);
        CHECK_UINT(list[0].size, six ? sizeof *in6 : sizeof *in);
        inet_ntop(rows[i].family, six ? (const void *)&in6->sin6_addr : (const void *)&in->sin_addr,
                  text, (socklen_t)sizeof text);
        CHECK_STR(text, rows[i].text);
        CHECK_INT(mtws__os_is_loopback(&list[0]), rows[i].loopback);
        if (rows[i].loopback) CHECK(!mtws__os_unreachable(&list[0]) || six);
    }
    mtws__address list[MTWS__ADDRESSES_MAX];
    int count = 77;
    int error = mtws__os_resolve("256.256.256.256.invalid", 80, list, &count);
    CHECK(error != 0);
    CHECK_INT(count, 0);
    CHECK(mtws__os_resolve_text(error)[0] != 0);
}

static void watching(void) {
    int fd = mtws__os_watch_open();
    if (fd < 0) return; /* not every system has one, and none is needed */
    CHECK(loopback_is_cloexec(fd) && loopback_is_nonblocking(fd));
    mtws__os_watch_changed(fd);
    uint64_t before = mtws__os_now_us();
    mtws__os_watch_changed(fd); /* one that waits does so until the network changes */
    CHECK(mtws__os_now_us() - before < 30000000);
    mtws__os_close(fd);
}

static void error_texts(void) {
    static const int errors[] = {ECONNREFUSED, ETIMEDOUT,    EHOSTUNREACH,  ENETUNREACH, ENETDOWN,
                                 ECONNRESET,   ECONNABORTED, EPIPE,         EMFILE,      ENFILE,
                                 ENOBUFS,      ENOMEM,       EADDRNOTAVAIL, EACCES,      EPERM,
                                 EAFNOSUPPORT, EINVAL};
    const char *unknown = mtws__os_error_text(9999);
    CHECK(unknown[0] != 0);
    CHECK_STR(mtws__os_error_text(0), unknown);
    CHECK_STR(mtws__os_error_text(-1), unknown);
    for (size_t i = 0; i < UNIT_COUNT(errors); i++) {
        const char *text = mtws__os_error_text(errors[i]);
        test_context("%s", strerror(errors[i]));
        CHECK(strcmp(text, unknown) != 0);
        for (size_t k = 0; k < i; k++) {
            bool both = (errors[i] == EPERM && errors[k] == EACCES);
            CHECK(both || strcmp(text, mtws__os_error_text(errors[k])) != 0);
        }
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(clocks),        TEST(entropy),
        TEST(sockets),       TEST(not_inherited),
        TEST(refused),       TEST(to_itself),
        TEST(under_way),     TEST(sending_and_receiving),
        TEST(no_room),       TEST(no_sigpipe),
        TEST(shutting_down), TEST(signal_storm),
        TEST(waiting),       TEST(waking),
        TEST(resolving),     TEST(watching),
        TEST(error_texts),   TEST(descriptors_over_1024),
    };
    return TEST_MAIN(tests, argc, argv);
}
