/* Messages flow while their server is killed, stopped and restarted, again and again.
 *
 * The server writes each message into a ledger, one system call a line, so that the ledger outlives
 * a kill. At every death, and at the end, the ledger is compared with what the client has said:
 * what is DELIVERED is in it; in the end everything is, first appearances in order; and every
 * message has ended in exactly one event. Run from the folder tests, as `make interop` does.
 */
#define _DEFAULT_SOURCE
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../test.h"
#include "servers.h"

enum { MESSAGES = 4000, DEATHS = 6, BATCH = 8, LIMIT_MS = 60000 };

typedef enum how { BY_PONG, BY_PROGRAM, AT_MOST_ONCE, STOPPED } how;

static const struct {
    const char *name, *path;
    how how;
} ways[] = {
    {"killed, confirmed by Pong", "/ledger", BY_PONG},
    {"killed, confirmed by the program", "/program", BY_PROGRAM},
    {"killed, at most once", "/ledger", AT_MOST_ONCE},
    {"stopped and continued", "/ledger", STOPPED},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

typedef enum fate { UNSETTLED, DELIVERED, DROPPED, DROPPED_WRITTEN } fate;

typedef struct traffic {
    mtws_client *ws;
    server server;
    how how;
    char ledger[64];
    unsigned sent, settled, deaths, heartbeats_lost;
    fate fates[MESSAGES + 1];    /* by id, which is the message's number */
    unsigned seen[MESSAGES + 1]; /* times in the ledger */
    unsigned last_seen;          /* the largest number in the ledger */
} traffic;

/* ---- the ledger ----------------------------------------------------------------------------- */

/* One line: its text is what was sent, and it is new only where its turn has come. */
static void read_entry(traffic *t, const char *line, size_t size) {
    char text[NUMBERED_MAX];
    unsigned number = (unsigned)strtoul(line, NULL, 10);
    if (!CHECK_TEXT(number >= 1 && number <= t->sent, "number %u in the ledger", number)) return;
    CHECK_UINT(size, numbered(text, number));
    CHECK_MEM(line, text, size);
    bool gaps = t->how == AT_MOST_ONCE;
    if (t->seen[number]++ == 0 && !gaps) CHECK_UINT(number, t->last_seen + 1);
    if (gaps) CHECK_TEXT(number > t->last_seen, "%u after %u", number, t->last_seen);
    if (number > t->last_seen) t->last_seen = number;
}

/* Reads the ledger from its beginning. A dead server can't have left half a line. */
static void read_ledger(traffic *t) {
    char line[NUMBERED_MAX + 2];
    FILE *file = fopen(t->ledger, "r");
    memset(t->seen, 0, sizeof t->seen);
    t->last_seen = 0;
    if (file == NULL) return;
    while (fgets(line, sizeof line, file) != NULL && !test_failing()) {
        size_t size = strlen(line);
        if (!CHECK(size > 0 && line[size - 1] == '\n')) break;
        line[size - 1] = '\0';
        read_entry(t, line, size - 1);
    }
    fclose(file);
}

/* While no server is alive: what the client believes must be what the ledger says. */
static void compare(traffic *t) {
    read_ledger(t);
    for (unsigned i = 1; i <= t->sent; i++) {
        if (t->fates[i] == DELIVERED) CHECK_TEXT(t->seen[i] > 0, "%u is delivered, and lost", i);
        if (t->fates[i] == DROPPED) CHECK_TEXT(t->seen[i] == 0, "%u was dropped unwritten", i);
        if (t->how == AT_MOST_ONCE) CHECK_TEXT(t->seen[i] <= 1, "%u arrived twice", i);
    }
}

/* ---- the client ----------------------------------------------------------------------------- */

static void settle(traffic *t, const mtws_event *e) {
    fate now = e->type == MTWS_EVENT_DELIVERED ? DELIVERED : e->written ? DROPPED_WRITTEN : DROPPED;
    if (!CHECK(e->first_id >= 1 && e->first_id <= e->id && e->id <= t->sent)) return;
    if (t->how != AT_MOST_ONCE) CHECK_INT(now, DELIVERED);
    for (uint64_t i = e->first_id; i <= e->id; i++) {
        CHECK_TEXT(t->fates[i] == UNSETTLED, "%u is settled twice", (unsigned)i);
        t->fates[i] = now;
        t->settled++;
    }
}

static void take(traffic *t, const mtws_event *e) {
    switch (e->type) {
    case MTWS_EVENT_DELIVERED:
    case MTWS_EVENT_DROPPED: settle(t, e); break;
    case MTWS_EVENT_MESSAGE: /* the server's program repeats what it has written down */
        if (t->how == BY_PROGRAM) {
            uint64_t id = strtoull((const char *)e->data, NULL, 10);
            CHECK_INT(mtws_confirm(t->ws, id), MTWS_OK);
        }
        break;
    case MTWS_EVENT_STATE:
        CHECK(e->state != MTWS_STATE_FAILED);
        if (e->state == MTWS_STATE_ERROR && e->result == MTWS_ERR_HEARTBEAT) t->heartbeats_lost++;
        break;
    default: break;
    }
}

static void send_some(traffic *t) {
    for (int i = 0; i < BATCH && t->sent < MESSAGES; i++) {
        char text[NUMBERED_MAX];
        uint64_t id = 0;
        size_t size = numbered(text, t->sent + 1);
        mtws_result result = mtws_send(t->ws, MTWS_TEXT, text, size, 0, &id);
        if (result == MTWS_ERR_QUEUE_FULL) return;
        if (!CHECK_INT(result, MTWS_OK) || !CHECK_UINT(id, t->sent + 1)) return;
        t->sent++;
    }
}

/* Does what is due and hands over all events; waits a millisecond where there are none. */
static void pump(traffic *t) {
    mtws_event e;
    int32_t wait_ms = 1;
    while (mtws_poll(t->ws, &e, wait_ms) == 1 && !test_failing()) {
        take(t, &e);
        wait_ms = 0;
    }
}

/* Pumps for so long, sending all the while. */
static void pump_for(traffic *t, unsigned ms) {
    uint64_t until = now_ms() + ms;
    while (now_ms() < until && !test_failing()) {
        send_some(t);
        pump(t);
    }
}

/* ---- what is done to the server ------------------------------------------------------------- */

/* Every third death is a SIGTERM, which closes connections properly. Every second server is back
 * only after a while. */
static void die_and_return(traffic *t) {
    int port = t->server.port;
    server_end(&t->server, t->deaths % 3 == 2 ? SIGTERM : SIGKILL);
    pump(t); /* takes what had arrived, so that Pongs in flight count */
    compare(t);
    if (t->deaths % 2 == 1) pump_for(t, 300);
    server_spawn(&t->server, t->server.kind, port, t->ledger);
    t->server.port = port;
    t->deaths++;
}

/* Until the heartbeats have noticed, and a little longer. */
static void stop_and_continue(traffic *t) {
    uint64_t until = now_ms() + LIMIT_MS;
    unsigned lost = t->heartbeats_lost;
    kill(t->server.pid, SIGSTOP);
    while (t->heartbeats_lost == lost && now_ms() < until && !test_failing()) pump_for(t, 50);
    pump_for(t, 1000);
    kill(t->server.pid, SIGCONT);
    t->deaths++;
}

/* The next death is due when its share has been sent, and while something is on its way. */
static bool death_is_due(const traffic *t) {
    mtws_stats stats;
    unsigned deaths = t->how == STOPPED ? 2 : DEATHS;
    if (t->deaths >= deaths || t->sent < (t->deaths + 1) * MESSAGES / (deaths + 1)) return false;
    mtws_get_stats(t->ws, &stats);
    return mtws_get_state(t->ws) == MTWS_STATE_CONNECTED && stats.unconfirmed_messages > 0;
}

static bool begin(traffic *t, const server_kind *kind, size_t way) {
    char url[64];
    mtws_options options = {0};
    memset(t, 0, sizeof *t);
    t->how = ways[way].how;
    snprintf(t->ledger, sizeof t->ledger, "/tmp/mtws-ledger-XXXXXX");
    int fd = mkstemp(t->ledger);
    if (!CHECK(fd >= 0)) return false;
    close(fd);
    if (!server_start(&t->server, kind, free_port(), t->ledger)) return false;
    options.max_reconnect_attempts = MTWS_UNLIMITED;
    options.initial_reconnect_delay_ms = 250;
    options.max_reconnect_delay_ms = 400;
    options.heartbeat_interval_ms = 300;
    options.heartbeat_timeout_ms = t->how == STOPPED ? 200 : 5000;
    options.connect_timeout_ms = t->how == STOPPED ? 500 : 5000;
    options.max_queue_size = 65536;
    options.confirm_delay_ms = 20;
    options.confirm = t->how == BY_PROGRAM ? MTWS_CONFIRM_PROGRAM : MTWS_CONFIRM_PONG;
    options.at_most_once = t->how == AT_MOST_ONCE;
    snprintf(url, sizeof url, "ws://127.0.0.1:%d%s", t->server.port, ways[way].path);
    return CHECK_INT(mtws_create(&t->ws, &options), MTWS_OK) &&
           CHECK_INT(mtws_connect(t->ws, url, NULL), MTWS_OK);
}

static void finish(traffic *t) {
    mtws_stats stats;
    server_end(&t->server, SIGKILL);
    compare(t);
    mtws_get_stats(t->ws, &stats);
    CHECK_UINT(t->sent, MESSAGES);
    CHECK_UINT(t->settled, MESSAGES);
    CHECK_UINT(stats.queued_messages, 0);
    CHECK_TEXT(stats.failures >= t->deaths, "%u failures for %u deaths", (unsigned)stats.failures,
               t->deaths);
    if (t->how == AT_MOST_ONCE) {
        CHECK_UINT(stats.resent, 0);
        return;
    }
    CHECK_UINT(t->last_seen, MESSAGES);
    CHECK(stats.resent > 0);
    if (t->how == STOPPED) CHECK(t->heartbeats_lost >= t->deaths && t->deaths == 2);
    else CHECK_UINT(t->deaths, DEATHS);
}

static void restarts(void) { /* FAULTS row 43 */
    static traffic t;
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        for (size_t way = 0; way < WAYS; way++) {
            if (!test_begin("%s, %s", server_kinds[k].name, ways[way].name)) continue;
            if (begin(&t, &server_kinds[k], way)) {
                uint64_t until = now_ms() + LIMIT_MS;
                while (t.settled < MESSAGES && now_ms() < until && !test_failing()) {
                    send_some(&t);
                    pump(&t);
                    if (!death_is_due(&t)) continue;
                    if (t.how == STOPPED) stop_and_continue(&t);
                    else die_and_return(&t);
                }
                finish(&t);
            }
            server_end(&t.server, SIGKILL);
            mtws_destroy(t.ws);
            unlink(t.ledger);
            test_end();
        }
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {TEST_ROWS(restarts)};
    return TEST_MAIN(tests, argc, argv);
}
