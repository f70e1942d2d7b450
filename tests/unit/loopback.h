/* Sockets of the tests' own side: a listener on 127.0.0.1, what it accepts, and bounded waits. */
#ifndef MTWS_TEST_LOOPBACK_H_INCLUDED
#define MTWS_TEST_LOOPBACK_H_INCLUDED

#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

enum { LOOPBACK_WAIT_MS = 5000 };

static void loopback_need(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "the test can't go on: %s: %s\n", what, strerror(errno));
    abort();
}

/* A socket that listens, and its port. With `backlog` 0 one connection is taken, and those after it
 * are left waiting. */
TEST_UNUSED static int loopback_listen(uint16_t *port, int backlog) {
    struct sockaddr_in address;
    socklen_t size = (socklen_t)sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    loopback_need(fd >= 0, "socket");
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    loopback_need(bind(fd, (const struct sockaddr *)&address, size) == 0, "bind");
    loopback_need(listen(fd, backlog) == 0, "listen");
    loopback_need(getsockname(fd, (struct sockaddr *)&address, &size) == 0, "getsockname");
    *port = ntohs(address.sin_port);
    return fd;
}

/* A port on which nobody listens: bound, so that nobody else takes it meanwhile. */
TEST_UNUSED static int loopback_nobody(uint16_t *port) {
    struct sockaddr_in address;
    socklen_t size = (socklen_t)sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    loopback_need(fd >= 0, "socket");
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    loopback_need(bind(fd, (const struct sockaddr *)&address, size) == 0, "bind");
    loopback_need(getsockname(fd, (struct sockaddr *)&address, &size) == 0, "getsockname");
    *port = ntohs(address.sin_port);
    return fd;
}

/* True when one of `events` (or an error) has come. */
TEST_UNUSED static bool loopback_wait(int fd, short events) {
    struct pollfd p = {fd, events, 0};
    int ready;
    do ready = poll(&p, 1, LOOPBACK_WAIT_MS);
    while (ready < 0 && errno == EINTR);
    return ready == 1;
}

TEST_UNUSED static int loopback_accept(int listener) {
    loopback_need(loopback_wait(listener, POLLIN), "nobody connects");
    int fd = accept(listener, NULL, NULL);
    loopback_need(fd >= 0, "accept");
    return fd;
}

/* Closes so that the peer gets a reset rather than an end. */
TEST_UNUSED static void loopback_reset(int fd) {
    struct linger now = {1, 0};
    loopback_need(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, (socklen_t)sizeof now) == 0,
                  "linger");
    close(fd);
}

TEST_UNUSED static bool loopback_is_cloexec(int fd) {
    return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

TEST_UNUSED static bool loopback_is_nonblocking(int fd) {
    return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

TEST_UNUSED static bool loopback_is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

#endif
