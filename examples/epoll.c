/* epoll: clients in an event loop of the program's own, beside another descriptor of it: a timer.
 *
 *     cc -O2 -o epoll epoll.c
 *     ./epoll 10 ws://127.0.0.1:9001/ [URL...]
 *
 * sends ten messages to each URL, prints what comes back, and ends when all is delivered. many.c is
 * for thousands of clients.
 */
#define MTWS_IMPLEMENTATION
#include "../mtws.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

enum { CLIENTS_MAX = 8, EVERY_MS = 200 };

typedef struct member {
    mtws_client *ws;
    mtws_wait known; /* what epoll watches of it */
    bool closing, ended;
} member;

static void show(const mtws_event *e) {
    if (e->type == MTWS_EVENT_STATE) printf("%s %s\n", mtws_state_name(e->state), e->reason);
    if (e->type == MTWS_EVENT_MESSAGE) printf("received %s\n", (const char *)e->data);
    if (e->type == MTWS_EVENT_DELIVERED) printf("delivered %d\n", (int)e->id);
    if (e->type == MTWS_EVENT_DROPPED) printf("dropped: %s\n", mtws_result_text(e->result));
}

/* A descriptor that wants nothing is not watched at all: epoll would still report EPOLLHUP. */
static void watch(int epoll, member *m) {
    for (int i = 0; i < m->known.count; i++)
        epoll_ctl(epoll, EPOLL_CTL_DEL, m->known.fds[i].fd, NULL); /* fails for those: no matter */
    mtws_get_wait(m->ws, &m->known);
    for (int i = 0; i < m->known.count; i++) {
        const mtws_wait_fd *w = &m->known.fds[i];
        struct epoll_event want = {0};
        want.events = (w->want_read ? EPOLLIN : 0u) | (w->want_write ? EPOLLOUT : 0u);
        if (want.events) epoll_ctl(epoll, EPOLL_CTL_ADD, w->fd, &want);
    }
}

/* The next mtws_poll closes what is not needed any more, so epoll is told after each. */
static void pump(int epoll, member *m) {
    mtws_event event;
    int got = 1;
    while (got == 1) {
        got = mtws_poll(m->ws, &event, 0);
        if (got == 1) show(&event);
        watch(epoll, m);
    }
    m->ended = got < 0;
}

/* The program's own work. mtws_disconnect comes once, when all is delivered: it is final. */
static void work(member *m, bool send) {
    mtws_stats stats;
    if (send) mtws_send_text(m->ws, "tick"); /* taken in any state; a full queue refuses it */
    mtws_get_stats(m->ws, &stats);
    if (send || stats.queued_messages > 0 || m->closing) return;
    m->closing = mtws_disconnect(m->ws, 1000, NULL) == MTWS_OK;
}

int main(int argc, char **argv) {
    static member members[CLIENTS_MAX];
    mtws_options options = {.max_reconnect_attempts = MTWS_UNLIMITED};
    struct itimerspec every = {{0, EVERY_MS * 1000000L}, {0, EVERY_MS * 1000000L}};
    struct epoll_event tick = {.events = EPOLLIN, .data.fd = 1}; /* the clients' have 0 there */
    int count = argc - 2, left = argc > 2 ? atoi(argv[1]) : 0, running = count;
    int epoll = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (left < 1 || count > CLIENTS_MAX || epoll < 0 || timer < 0) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    timerfd_settime(timer, 0, &every, NULL);
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &tick);
    for (int i = 0; i < count; i++) {
        mtws_result result = mtws_create(&members[i].ws, &options);
        if (result == MTWS_OK) result = mtws_connect(members[i].ws, argv[2 + i], NULL);
        if (result == MTWS_OK) continue;
        fprintf(stderr, "%s: %s\n", argv[2 + i], mtws_result_text(result));
        return 1;
    }
    while (running > 0) {
        int timeout_ms = -1; /* the least of theirs */
        running = 0;
        for (int i = 0; i < count; i++) {
            if (!members[i].ended) pump(epoll, &members[i]);
            if (members[i].ended) continue;
            running++;
            int32_t due = members[i].known.timeout_ms;
            if (due >= 0 && (timeout_ms < 0 || due < timeout_ms)) timeout_ms = due;
        }
        struct epoll_event ready[16];
        int got = running > 0 ? epoll_wait(epoll, ready, 16, timeout_ms) : 0;
        for (int i = 0; i < got; i++) {
            uint64_t times;
            if (ready[i].data.fd != 1 || read(timer, &times, sizeof times) < 0) continue;
            for (int k = 0; k < count; k++) work(&members[k], left > 0);
            left -= left > 0;
        }
    }
    for (int i = 0; i < count; i++) mtws_destroy(members[i].ws);
    return 0;
}
