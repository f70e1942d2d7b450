/* A client under test, for tests/netns/run.py: it sends numbered messages as its standard input
 * asks, and prints every event.
 *
 *     client URL [NAME=NUMBER...]
 *
 * NAME is one of interval, timeout, connect, close, initial, max, attempts, names (options of mtws.h
 * in milliseconds, or as they are; names is dns_timeout_ms), manual (1: MTWS_NETWORK_MANUAL) and loop (1: waits in a poll() of
 * its own over mtws_get_wait; 0: in mtws_poll, which SIGUSR1 interrupts after each command; 2: polls
 * each MS milliseconds, as a game does, where MS is frame=, 5 unless said).
 *
 * Commands, one a line:
 *     rate COUNT MS    from now on COUNT messages each MS milliseconds; 0 0 stops
 *     finish           no more messages; once all are settled, disconnect
 *     disconnect       disconnect now
 *     retry            mtws_retry_now
 *     network 0|1      mtws_set_network
 *
 * Output, one event a line, its first word the monotonic time in milliseconds:
 *     T state NEW PREVIOUS RESULT RETRY_MS REASON...
 *     T sent FIRST LAST
 *     T delivered FIRST LAST
 *     T dropped FIRST LAST RESULT
 *     T refused ID RESULT    by mtws_send
 *     T end                  disconnected or failed: nothing more will happen by itself
 *     T polls COUNT US CPU_US    before it, of calls that do not wait: the longest by the clock, and
 *                            the one that took most processor time
 */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LIFE_S = 150,   /* a client whose script has died ends by itself */
    BIG_EVERY = 50, /* each so many messages one does not fit into a packet, nor a few */
    BIG_SIZE = 20000,
    COMMAND_MAX = 256,
    FDS_MAX = MTWS_WAIT_MAX + 1
};

typedef struct program {
    mtws_client *ws;
    int loop;
    int frame_ms;
    uint64_t polls, longest_us, busiest_us;
    bool finishing;
    bool gone;        /* disconnect was asked for, so what the end leaves unsettled is meant */
    bool ended;       /* "end" was printed for this rest */
    uint64_t sent;    /* the last id */
    uint64_t settled; /* messages that were delivered or dropped */
    int rate_count;
    int64_t rate_ms;
    int64_t next_ms; /* the next burst; INT64_MAX: none */
    char command[COMMAND_MAX];
    size_t command_size;
} program;

static mtws_client *signalled; /* for the signal handler alone */

static void on_signal(int number) {
    (void)number;
    mtws_wake(signalled);
}

static int64_t now_ms(void) {
    struct timespec t = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t clock_us(clockid_t clock) {
    struct timespec t = {0, 0};
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* mtws_poll without a wait, timed. */
static int poll_now(program *p, mtws_event *e) {
    uint64_t at_us = clock_us(CLOCK_MONOTONIC), cpu_us = clock_us(CLOCK_THREAD_CPUTIME_ID);
    int result = mtws_poll(p->ws, e, 0);
    cpu_us = clock_us(CLOCK_THREAD_CPUTIME_ID) - cpu_us;
    at_us = clock_us(CLOCK_MONOTONIC) - at_us;
    p->polls++;
    if (at_us > p->longest_us) p->longest_us = at_us;
    if (cpu_us > p->busiest_us) p->busiest_us = cpu_us;
    return result;
}

static void print_end(const program *p) {
    printf("%" PRId64 " polls %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", now_ms(), p->polls,
           p->longest_us, p->busiest_us);
    printf("%" PRId64 " end\n", now_ms());
    fflush(stdout);
}

static void print_event(program *p, const mtws_event *e) {
    int64_t at = now_ms();
    if (e->type == MTWS_EVENT_STATE) {
        p->ended = false;
        printf("%" PRId64 " state %s %s %d %d %s\n", at, mtws_state_name(e->state),
               mtws_state_name(e->previous), (int)e->result, (int)e->retry_ms, e->reason);
    } else if (e->type == MTWS_EVENT_DELIVERED) {
        p->settled += e->id - e->first_id + 1;
        printf("%" PRId64 " delivered %" PRIu64 " %" PRIu64 "\n", at, e->first_id, e->id);
    } else if (e->type == MTWS_EVENT_DROPPED) {
        p->settled += e->id - e->first_id + 1;
        printf("%" PRId64 " dropped %" PRIu64 " %" PRIu64 " %d\n", at, e->first_id, e->id,
               (int)e->result);
    }
    fflush(stdout);
}

/* One numbered message; false where it was refused. Its number is the id it must get. */
static bool send_one(program *p) {
    static char text[BIG_SIZE + 64];
    uint64_t number = p->sent + 1, id = 0;
    size_t size = number % BIG_EVERY == 0 ? BIG_SIZE : 32 + (size_t)(number * 37 % 400);
    memset(text, 'x', size);
    int digits = snprintf(text, sizeof text, "%" PRIu64, number);
    text[digits] = ' ';
    mtws_result result = mtws_send(p->ws, MTWS_TEXT, text, size, 0, &id);
    if (result != MTWS_OK || id != number) {
        printf("%" PRId64 " refused %" PRIu64 " %d\n", now_ms(), number, (int)result);
        fflush(stdout);
        return false;
    }
    p->sent = number;
    return true;
}

static void send_due(program *p) {
    if (now_ms() < p->next_ms) return;
    p->next_ms = now_ms() + p->rate_ms;
    uint64_t before = p->sent;
    for (int i = 0; i < p->rate_count; i++) {
        if (!send_one(p)) break;
    }
    if (p->sent == before) return;
    printf("%" PRId64 " sent %" PRIu64 " %" PRIu64 "\n", now_ms(), before + 1, p->sent);
    fflush(stdout);
}

static void obey(program *p, const char *line) {
    long count = 0, every = 0;
    if (sscanf(line, "rate %ld %ld", &count, &every) == 2) {
        p->rate_count = (int)count;
        p->rate_ms = every;
        p->next_ms = count > 0 ? now_ms() : INT64_MAX;
    } else if (strcmp(line, "finish") == 0) {
        p->finishing = true;
        p->next_ms = INT64_MAX;
    } else if (strcmp(line, "disconnect") == 0) {
        p->next_ms = INT64_MAX;
        p->gone = true;
        mtws_disconnect(p->ws, 1000, NULL);
    } else if (strcmp(line, "retry") == 0) {
        mtws_retry_now(p->ws);
    } else if (sscanf(line, "network %ld", &count) == 1) {
        mtws_set_network(p->ws, count != 0);
    } else {
        fprintf(stderr, "client: what is \"%s\"?\n", line);
        exit(2);
    }
}

/* False at the end of the input: the script is gone. */
static bool read_commands(program *p) {
    for (;;) {
        char *end = memchr(p->command, '\n', p->command_size);
        if (end != NULL) {
            size_t size = (size_t)(end - p->command) + 1;
            *end = '\0';
            obey(p, p->command);
            p->command_size -= size;
            memmove(p->command, p->command + size, p->command_size);
            continue;
        }
        if (p->command_size == sizeof p->command) return false;
        ssize_t got =
            read(STDIN_FILENO, p->command + p->command_size, sizeof p->command - p->command_size);
        if (got == 0) return false;
        if (got < 0) return errno == EAGAIN || errno == EINTR;
        p->command_size += (size_t)got;
    }
}

static int32_t until_next_ms(const program *p) {
    if (p->next_ms == INT64_MAX) return -1;
    int64_t left = p->next_ms - now_ms();
    return left > 0 ? (int32_t)left : 0;
}

/* Waits as an event loop does. */
static void wait_in_loop(program *p) {
    mtws_wait wait;
    struct pollfd fds[FDS_MAX];
    nfds_t count = 0;
    mtws_get_wait(p->ws, &wait);
    for (int i = 0; i < wait.count; i++) {
        if (!wait.fds[i].want_read && !wait.fds[i].want_write) continue;
        fds[count].fd = wait.fds[i].fd;
        fds[count].events =
            (short)((wait.fds[i].want_read ? POLLIN : 0) | (wait.fds[i].want_write ? POLLOUT : 0));
        fds[count++].revents = 0;
    }
    fds[count].fd = STDIN_FILENO;
    fds[count].events = POLLIN;
    fds[count++].revents = 0;
    int32_t timeout = until_next_ms(p);
    if (wait.timeout_ms >= 0 && (timeout < 0 || wait.timeout_ms < timeout)) {
        timeout = wait.timeout_ms;
    }
    poll(fds, count, timeout);
}

/* Nothing happens in the client before a command comes. */
static void rest(program *p) {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    if (!p->ended) print_end(p);
    p->ended = true;
    poll(&input, 1, until_next_ms(p));
}

/* Hands over what there is, after waiting where it is to wait; false once the program is done. */
static bool pump(program *p) {
    mtws_event e;
    int result;
    if (p->finishing && !p->gone && p->settled == p->sent) {
        p->gone = true;
        mtws_disconnect(p->ws, 1000, NULL);
    }
    if (p->loop != 0) {
        if (p->loop == 1) wait_in_loop(p);
        else poll(NULL, 0, p->frame_ms);
        while ((result = poll_now(p, &e)) == 1) print_event(p, &e);
    } else {
        result = mtws_poll(p->ws, &e, until_next_ms(p));
        if (result == 1) print_event(p, &e);
    }
    if (result != MTWS_ERR_IDLE) return true;
    if (p->gone) {
        print_end(p);
        return false;
    }
    rest(p);
    return true;
}

static bool take_option(program *p, mtws_options *o, const char *text) {
    const struct {
        const char *name;
        int32_t *to;
    } numbers[] = {{"interval=", &o->heartbeat_interval_ms},
                   {"timeout=", &o->heartbeat_timeout_ms},
                   {"connect=", &o->connect_timeout_ms},
                   {"close=", &o->close_timeout_ms},
                   {"initial=", &o->initial_reconnect_delay_ms},
                   {"max=", &o->max_reconnect_delay_ms},
                   {"names=", &o->dns_timeout_ms},
                   {"attempts=", &o->max_reconnect_attempts}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        size_t size = strlen(numbers[i].name);
        if (strncmp(text, numbers[i].name, size) != 0) continue;
        *numbers[i].to = (int32_t)atol(text + size);
        return true;
    }
    if (strncmp(text, "manual=", 7) == 0) {
        o->network = atol(text + 7) != 0 ? MTWS_NETWORK_MANUAL : MTWS_NETWORK_AUTO;
    } else if (strncmp(text, "loop=", 5) == 0) {
        p->loop = (int)atol(text + 5);
    } else if (strncmp(text, "frame=", 6) == 0) {
        p->frame_ms = (int)atol(text + 6);
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv) {
    static program p;
    mtws_options o;
    memset(&o, 0, sizeof o);
    o.max_reconnect_attempts = MTWS_UNLIMITED;
    o.max_queue_size = 8u << 20;
    o.wakeable = true;
    p.next_ms = INT64_MAX;
    p.frame_ms = 5;
    for (int i = 2; i < argc; i++) {
        if (!take_option(&p, &o, argv[i])) {
            fprintf(stderr, "client: what is \"%s\"?\n", argv[i]);
            return 2;
        }
    }
    alarm(LIFE_S);
    mtws_result result = mtws_create(&p.ws, &o);
    if (result == MTWS_OK) result = mtws_connect(p.ws, argc > 1 ? argv[1] : "", NULL);
    if (result != MTWS_OK) {
        fprintf(stderr, "client: %s\n", mtws_result_text(result));
        return 1;
    }
    signalled = p.ws;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGUSR1, &action, NULL);
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);

    do {
        if (!read_commands(&p)) return 3;
        send_due(&p);
    } while (pump(&p));
    mtws_destroy(p.ws);
    return 0;
}
