/* many: 10,000 clients in one thread, on one epoll and one heap of timers. Linux.
 *
 *     cc -O2 -o many many.c
 *     ./many ws://127.0.0.1:9001/ 10000 30
 *
 * runs for 30 seconds. Each client says something every three, and begins when it first does, so
 * that not all knock at once. Exit status 0: in the end all were connected.
 */
#define MTWS_IMPLEMENTATION
#define MTWS_REQUEST_MAX 512 /* what each of 10,000 has for itself */
#define MTWS_ANSWER_MAX 1024
#define MTWS_FIRST_MAX 128
#define MTWS_PART_MAX 128
#include "../mtws.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

enum { TALK_EVERY_MS = 3000, READY_MAX = 256, EVENTS_MAX = 32, CLIENTS_MAX = 100000 };

typedef struct member {
    mtws_client *ws;
    mtws_wait told;   /* what epoll has been told to watch */
    uint64_t talk_ms; /* when to say something, and to begin, the first time */
    uint64_t due_ms;  /* when to run, whatever epoll says */
    size_t place;     /* in the heap */
} member;

static member members[CLIENTS_MAX], *heap[CLIENTS_MAX]; /* heap[0] is due first */
static size_t size = 10000;                             /* of both */
static int epoll;

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void put(size_t place, member *m) { (heap[place] = m)->place = place; }
static void set_due(member *m, uint64_t due_ms) {
    size_t at = m->place, parent, child;
    m->due_ms = due_ms;
    for (; at > 0 && heap[parent = (at - 1) / 2]->due_ms > due_ms; at = parent)
        put(at, heap[parent]);
    for (; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && heap[child + 1]->due_ms < heap[child]->due_ms) child++;
        if (heap[child]->due_ms >= due_ms) break;
        put(at, heap[child]);
    }
    put(at, m);
}

/* serial tells a new socket from an old one whose number it got. */
static bool same(const mtws_wait_fd *a, const mtws_wait_fd *b) {
    return a->fd == b->fd && a->serial == b->serial && a->want_read == b->want_read &&
           a->want_write == b->want_write;
}

/* One that wants nothing is not watched at all: epoll would still report EPOLLHUP. */
static void tell(member *m, int what, const mtws_wait *those, const mtws_wait *but) {
    for (int i = 0, k; i < those->count; i++) {
        const mtws_wait_fd *w = &those->fds[i];
        struct epoll_event event = {0};
        event.events = (w->want_read ? EPOLLIN : 0u) | (w->want_write ? EPOLLOUT : 0u);
        event.data.ptr = m;
        for (k = 0; k < but->count && !same(w, &but->fds[k]);) k++;
        if (event.events && k == but->count) epoll_ctl(epoll, what, w->fd, &event);
    }
}

/* A bounded number of events, so that one talkative server starves no other client: the rest is due
 * at once, behind the others. Epoll forgets what is closed: then EPOLL_CTL_DEL fails, and may. */
static void run(member *m) {
    uint64_t time_ms = now_ms();
    if (time_ms >= m->talk_ms) {
        mtws_send_text(m->ws, "here"); /* refused where a long outage has filled the queue */
        m->talk_ms = time_ms + TALK_EVERY_MS;
    }
    mtws_wait now;
    mtws_event event;
    int got = 1;
    for (int i = 0; i < EVENTS_MAX && got == 1; i++) {
        got = mtws_poll(m->ws, &event, 0); /* here the program does what each event is for */
        mtws_get_wait(m->ws, &now);
        tell(m, EPOLL_CTL_DEL, &m->told, &now);
        tell(m, EPOLL_CTL_ADD, &now, &m->told);
        m->told = now;
    }
    uint64_t due_ms = time_ms + (uint32_t)now.timeout_ms; /* -1, none, becomes 49 days */
    set_due(m, due_ms < m->talk_ms ? due_ms : m->talk_ms);
}

/* AUTO would take a descriptor a client to watch the network. One watcher of the program's own can
 * tell them all, with mtws_set_network. */
static bool create(const char *url) {
    mtws_options options = {.network = MTWS_NETWORK_MANUAL,
                            .max_reconnect_attempts = MTWS_UNLIMITED,
                            .max_message_size = 512,
                            .max_queue_size = 512};
    size_t each = mtws_memory_required(&options);
    unsigned char *block = malloc(each * size); /* little of it will be touched */
    epoll = epoll_create1(EPOLL_CLOEXEC);
    bool good = block && epoll >= 0;
    for (size_t i = 0; good && i < size; i++) {
        members[i].due_ms = members[i].talk_ms = now_ms() + TALK_EVERY_MS * i / size;
        put(i, &members[i]); /* a rising order is a heap */
        good = mtws_create_in(&members[i].ws, &options, block + each * i, each) == MTWS_OK &&
               mtws_connect(members[i].ws, url, NULL) == MTWS_OK;
    }
    printf("%zu clients of %zu bytes\n", size, each);
    return good;
}

static bool show(uint64_t second) {
    unsigned long long connected = 0, opened = 0, received = 0;
    for (size_t i = 0; i < size; i++) {
        mtws_stats stats;
        mtws_get_stats(members[i].ws, &stats);
        connected += mtws_get_state(members[i].ws) == MTWS_STATE_CONNECTED;
        opened += stats.connects;
        received += stats.messages_received;
    }
    printf("%3u s: %llu connected, %llu times in all, %llu messages received\n", (unsigned)second,
           connected, opened, received);
    fflush(stdout);
    return connected == size;
}

int main(int argc, char **argv) {
    if (argc > 2) size = strtoul(argv[2], NULL, 10);
    uint64_t seconds = argc > 3 ? strtoul(argv[3], NULL, 10) : 30, start = now_ms(), shown = 0;
    if (argc < 2 || size < 1 || size > CLIENTS_MAX || !create(argv[1]))
        return fprintf(stderr, "usage: many URL [CLIENTS [SECONDS]]\n"), 2;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) return perror("getrlimit"), 1;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0) perror("setrlimit");
    for (bool all_connected = false;;) {
        struct epoll_event ready[READY_MAX];
        uint64_t now = now_ms(), due = start + (shown + 1) * 1000;
        if (now >= due) all_connected = show(++shown);
        if (shown == seconds) return all_connected ? 0 : 1;
        if (heap[0]->due_ms < due) due = heap[0]->due_ms;
        int count = epoll_wait(epoll, ready, READY_MAX, due > now ? (int)(due - now) : 0);
        for (int i = 0; i < count; i++) run(ready[i].data.ptr);
        for (int i = 0; i < READY_MAX && heap[0]->due_ms <= now; i++) run(heap[0]);
    }
}
