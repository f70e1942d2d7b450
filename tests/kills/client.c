/* The client under test, for run.py: it sends numbered messages as its standard input asks, prints
 * what becomes of them, and looks into the server's ledger at each DELIVERED.
 *
 *     client URL LEDGER CONFIRM      CONFIRM is pong or program
 *
 * Commands, one a line: "send COUNT" more messages; "finish" no more, and once all are settled,
 * disconnect. Output, one event a line:
 *
 *     connected
 *     error RESULT REASON...
 *     sent LAST
 *     delivered FIRST LAST      dropped FIRST LAST RESULT
 *     early ID                  DELIVERED, and not in the ledger at that moment
 *     end SENT DELIVERED DROPPED EARLY RESENT CONNECTS
 *
 * A record of the ledger is 16 bytes: the message's number and the sum of its bytes. The number is
 * the id that mtws_send gave. With "program" the server's program answers each message that it has
 * written down with its number, which goes to mtws_confirm.
 */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    RECORD_SIZE = 16,
    MESSAGES_MAX = 4 * 1024 * 1024,
    TEXT_MAX = 100032,
    COMMAND_MAX = 4096,
    PAUSE_MS = 5 /* until a refused message is tried again, where nothing else happens */
};

typedef struct program {
    mtws_client *ws;
    int ledger;
    bool finishing, disconnecting;
    uint64_t owed; /* messages asked for, and not yet taken by mtws_send */
    uint64_t sent, delivered, dropped, early;
    uint8_t seen[MESSAGES_MAX + 1];    /* by number: it is in the ledger */
    uint8_t settled[MESSAGES_MAX + 1]; /* by id */
    char command[COMMAND_MAX];
    size_t command_size;
} program;

static void give_up(const char *text, const char *more) {
    fprintf(stderr, "client: %s%s\n", text, more);
    exit(1);
}

/* ---- the ledger ----------------------------------------------------------------------------- */

/* Reads what was written into it since the last time. */
static void read_ledger(program *p) {
    char records[256 * RECORD_SIZE];
    for (;;) {
        ssize_t got = read(p->ledger, records, sizeof records);
        if (got < 0 || got % RECORD_SIZE != 0) give_up("the ledger is torn", "");
        if (got == 0) return;
        for (ssize_t at = 0; at < got; at += RECORD_SIZE) {
            unsigned long number = strtoul(records + at, NULL, 10);
            if (number < 1 || number > p->sent) give_up("a number that was never sent", "");
            p->seen[number] = 1;
        }
    }
}

static void settle(program *p, const mtws_event *e) {
    bool delivered = e->type == MTWS_EVENT_DELIVERED;
    uint64_t first = e->first_id, last = e->id;
    if (first < 1 || first > last || last > p->sent) give_up("an id that was never given", "");
    if (delivered) {
        printf("delivered %" PRIu64 " %" PRIu64 "\n", first, last);
        read_ledger(p);
    } else {
        printf("dropped %" PRIu64 " %" PRIu64 " %d\n", first, last, (int)e->result);
    }
    for (uint64_t id = first; id <= last; id++) {
        if (p->settled[id]) give_up("a message was settled twice", "");
        p->settled[id] = 1;
        if (delivered) p->delivered++;
        else p->dropped++;
        if (!delivered || p->seen[id]) continue;
        p->early++;
        printf("early %" PRIu64 "\n", id);
    }
}

/* ---- the client ----------------------------------------------------------------------------- */

/* Most are small; some fill several packets, and some leave in fragments. The same in messages.py
 * and peer.js. */
static size_t write_text(char out[TEXT_MAX], uint64_t number) {
    size_t size = 8 + (size_t)(number * 37 % 400);
    if (number % 64 == 0) size = 20000;
    if (number % 512 == 0) size = 100000;
    size_t head = (size_t)snprintf(out, TEXT_MAX, "%" PRIu64 " ", number);
    for (size_t i = 0; i < size; i++) out[head + i] = (char)('a' + (number + i) % 26);
    return head + size;
}

static void send_owed(program *p) {
    static char text[TEXT_MAX];
    uint64_t before = p->sent, id = 0;
    while (p->owed > 0) {
        if (p->sent == MESSAGES_MAX) give_up("too many messages", "");
        size_t size = write_text(text, p->sent + 1);
        mtws_result result = mtws_send(p->ws, MTWS_TEXT, text, size, 0, &id);
        if (result == MTWS_ERR_QUEUE_FULL) break;
        if (result != MTWS_OK) give_up("mtws_send: ", mtws_result_text(result));
        p->sent++;
        p->owed--;
        if (id != p->sent) give_up("an id out of turn", "");
    }
    if (p->sent != before) printf("sent %" PRIu64 "\n", p->sent);
}

static void take(program *p, const mtws_event *e) {
    switch (e->type) {
    case MTWS_EVENT_STATE:
        if (e->state == MTWS_STATE_CONNECTED) printf("connected\n");
        if (e->state == MTWS_STATE_ERROR) printf("error %d %s\n", (int)e->result, e->reason);
        if (e->state == MTWS_STATE_FAILED) give_up("failed: ", e->reason);
        break;
    case MTWS_EVENT_MESSAGE: {
        mtws_result result = mtws_confirm(p->ws, strtoull((const char *)e->data, NULL, 10));
        if (result != MTWS_OK) give_up("mtws_confirm: ", mtws_result_text(result));
        break;
    }
    case MTWS_EVENT_DELIVERED:
    case MTWS_EVENT_DROPPED: settle(p, e); break;
    default: break;
    }
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void obey(program *p, const char *line) {
    uint64_t count = 0;
    if (sscanf(line, "send %" SCNu64, &count) == 1) p->owed += count;
    else if (strcmp(line, "finish") == 0) p->finishing = true;
    else give_up("what is ", line);
}

/* Obeys what has come. The end of the input without "finish" means that run.py is gone. */
static void read_commands(program *p) {
    char *end;
    ssize_t got = read(STDIN_FILENO, p->command + p->command_size, COMMAND_MAX - p->command_size);
    if (got == 0 && !p->finishing) exit(3);
    if (got > 0) p->command_size += (size_t)got;
    while ((end = memchr(p->command, '\n', p->command_size)) != NULL) {
        size_t size = (size_t)(end - p->command) + 1;
        *end = '\0';
        obey(p, p->command);
        p->command_size -= size;
        memmove(p->command, end + 1, p->command_size);
    }
}

/* Waits for the connection, the client's timers and the next command. */
static void wait_for_more(program *p) {
    mtws_wait wait;
    struct pollfd fds[MTWS_WAIT_MAX + 1];
    nfds_t count = 0;
    mtws_get_wait(p->ws, &wait);
    for (int i = 0; i < wait.count; i++) {
        if (!wait.fds[i].want_read && !wait.fds[i].want_write) continue;
        int events = (wait.fds[i].want_read ? POLLIN : 0) | (wait.fds[i].want_write ? POLLOUT : 0);
        fds[count].fd = wait.fds[i].fd;
        fds[count++].events = (short)events;
    }
    if (!p->finishing) {
        fds[count].fd = STDIN_FILENO;
        fds[count++].events = POLLIN;
    }
    int timeout = (int)wait.timeout_ms;
    if (p->owed > 0 && (timeout < 0 || timeout > PAUSE_MS)) timeout = PAUSE_MS;
    poll(fds, count, timeout);
}

static void run(program *p) {
    mtws_event e;
    int result = 0;
    while (result != MTWS_ERR_IDLE) {
        wait_for_more(p);
        read_commands(p);
        send_owed(p);
        while ((result = mtws_poll(p->ws, &e, 0)) == 1) take(p, &e);
        fflush(stdout);
        if (p->disconnecting || !p->finishing || p->owed > 0) continue;
        if (p->delivered + p->dropped < p->sent) continue;
        p->disconnecting = true;
        mtws_disconnect(p->ws, 1000, NULL);
    }
}

static void make_client(program *p, const char *url, const char *confirm) {
    mtws_options o;
    memset(&o, 0, sizeof o);
    o.max_reconnect_attempts = MTWS_UNLIMITED;
    o.initial_reconnect_delay_ms = 250;
    o.max_reconnect_delay_ms = 400;
    o.heartbeat_interval_ms = 300;
    o.heartbeat_timeout_ms = 500;
    o.connect_timeout_ms = 2000;
    o.close_timeout_ms = 1000;
    o.confirm_delay_ms = 20;
    if (strcmp(confirm, "program") == 0) o.confirm = MTWS_CONFIRM_PROGRAM;
    else if (strcmp(confirm, "pong") != 0) give_up("CONFIRM is not ", confirm);
    mtws_result result = mtws_create(&p->ws, &o);
    if (result == MTWS_OK) result = mtws_connect(p->ws, url, NULL);
    if (result != MTWS_OK) give_up(url, mtws_result_text(result));
}

int main(int argc, char **argv) {
    static program p;
    mtws_stats stats;
    if (argc != 4) give_up("client URL LEDGER CONFIRM", "");
    p.ledger = open(argv[2], O_RDONLY);
    if (p.ledger < 0) give_up("open: ", strerror(errno));
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
    make_client(&p, argv[1], argv[3]);
    run(&p);
    mtws_get_stats(p.ws, &stats);
    printf("end %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", p.sent,
           p.delivered, p.dropped, p.early, stats.resent, stats.connects);
    mtws_destroy(p.ws);
    return 0;
}
