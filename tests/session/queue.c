/* Sending: what mtws_send took arrives, in order, whatever happens to connections in between, and
 * each message ends in exactly one event. See peer.h for how connections are made to die.
 */
#include <stddef.h>
static void *counted_malloc(size_t size);
static void counted_free(void *block);
#define MTWS_MALLOC(size) counted_malloc(size)
#define MTWS_FREE(block) counted_free(block)
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../test.h"
#include "peer.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static struct {
    unsigned allocations, frees;
    uint8_t *block;
    size_t size;
} memory;

static void *counted_malloc(size_t size) {
    memory.allocations++;
    memory.size = size;
    memory.block = (uint8_t *)malloc(size);
    return memory.block;
}

static void counted_free(void *block) {
    memory.frees++;
    free(block);
}

/* ---- numbered messages ----------------------------------------------------------------------- */

/* Message `number`: its number, then filler of its own, at least four bytes. */
static void make_message(wire_buffer *to, unsigned number, size_t size) {
    to->size = 0;
    wire_print(to, "%03u:", number);
    while (to->size < size) {
        wire_add_byte(to, 'a' + (unsigned)((to->size * 7 + number) % 26));
    }
}

static mtws_result queue_number(peer *p, unsigned number, size_t size, unsigned flags) {
    wire_buffer message = {0};
    make_message(&message, number, size);
    mtws_kind kind = number % 3 == 2 ? MTWS_BINARY : MTWS_TEXT;
    mtws_result result = peer_queue(p, kind, message.data, message.size, flags);
    wire_free(&message);
    return result;
}

static unsigned number_of(const peer *p, size_t index) {
    const uint8_t *text = p->messages_data.data + p->messages[index].at;
    return (unsigned)(text[0] - '0') * 100 + (unsigned)(text[1] - '0') * 10 +
           (unsigned)(text[2] - '0');
}

/* Each message that arrived is one that was sent, unchanged. */
static void check_unchanged(peer *p, const size_t *sizes) {
    wire_buffer wanted = {0};
    for (size_t i = 0; i < p->message_count; i++) {
        unsigned number = number_of(p, i);
        make_message(&wanted, number, sizes[number]);
        CHECK_UINT(p->messages[i].opcode, number % 3 == 2 ? WIRE_BIN : WIRE_TEXT);
        if (CHECK_UINT(p->messages[i].size, wanted.size)) {
            CHECK_MEM(p->messages_data.data + p->messages[i].at, wanted.data, wanted.size);
        }
    }
    wire_free(&wanted);
}

/* At least once, all of them: within a connection one follows the other, and no connection begins
 * behind what was confirmed. */
static void check_arrived(peer *p, unsigned count) {
    unsigned next = 0;
    int connection = -1;
    unsigned expected = 0;
    for (size_t i = 0; i < p->message_count; i++) {
        unsigned number = number_of(p, i);
        if (p->messages[i].connection != connection) {
            connection = p->messages[i].connection;
            CHECK_TEXT(number <= next, "connection %d begins with %u, %u is missing", connection,
                       number, next);
        } else {
            CHECK_UINT(number, expected);
        }
        expected = number + 1;
        next = expected > next ? expected : next;
    }
    CHECK_UINT(next, count);
}

/* So many were settled, so many of them as delivered. */
static void check_fates(peer *p, uint64_t settled, uint64_t delivered) {
    uint64_t count = 0;
    CHECK_UINT(p->settled, settled);
    for (uint64_t id = 1; id <= p->last_id && id < p->fate_capacity; id++) {
        count += p->fates[id] == 1;
    }
    CHECK_UINT(count, delivered);
}

static uint64_t queued_messages(peer *p) {
    mtws_stats stats;
    mtws_get_stats(p->ws, &stats);
    return stats.queued_messages;
}

/* ---- the plain course ------------------------------------------------------------------------ */

static void flows_in_order(void) {
    peer p;
    peer_init(&p);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    for (unsigned i = 0; i < 50; i++) {
        CHECK_INT(queue_number(&p, i, 10, 0), MTWS_OK);
    }
    CHECK_UINT(queued_messages(&p), 50);
    peer_start(&p);
    for (unsigned i = 50; i < 100; i++) {
        CHECK_INT(queue_number(&p, i, 10, 0), MTWS_OK);
    }
    peer_advance(&p, 1000);
    CHECK_UINT(p.message_count, 100);
    check_arrived(&p, 100);
    check_fates(&p, 100, 100);
    CHECK_UINT(queued_messages(&p), 0);
    mtws_stats stats;
    mtws_get_stats(p.ws, &stats);
    CHECK_UINT(stats.messages_sent, 100);
    CHECK_UINT(stats.resent, 0);
    CHECK_UINT(stats.dropped, 0);
    CHECK_UINT(stats.queued_bytes, 0);
    CHECK_UINT(stats.unconfirmed_messages, 0);
    CHECK_UINT(stats.bytes_sent, p.up_total);
    CHECK_UINT(stats.bytes_received, p.down_at);
    peer_finish(&p);
}

static void send_arguments(void) {
    peer p;
    peer_init(&p);
    p.options.max_queue_size = 1000;
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    uint64_t id = 77;
    CHECK_INT(mtws_send(p.ws, (mtws_kind)0, "a", 1, 0, &id), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_send(p.ws, (mtws_kind)3, "a", 1, 0, &id), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_send(p.ws, (mtws_kind)8, "a", 1, 0, &id), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_send(p.ws, MTWS_TEXT, "a", 1, 8, &id), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_send(p.ws, MTWS_TEXT, NULL, 1, 0, &id), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_send(p.ws, MTWS_BINARY, "a", 1001, 0, &id), MTWS_ERR_TOO_BIG);
    CHECK_INT(mtws_send(p.ws, MTWS_BINARY, "a", SIZE_MAX, 0, &id), MTWS_ERR_TOO_BIG);
    CHECK_INT(mtws_send(p.ws, MTWS_BINARY, "a", SIZE_MAX - 10, 0, &id), MTWS_ERR_TOO_BIG);
    CHECK_INT(mtws_send_text(p.ws, NULL), MTWS_ERR_ARGUMENT);
    CHECK_UINT(id, 77);
    CHECK_INT(mtws_send(p.ws, MTWS_TEXT, NULL, 0, 0, &id), MTWS_OK);
    CHECK_UINT(id, 1);
    CHECK_INT(mtws_send(p.ws, MTWS_BINARY, NULL, 0, 0, NULL), MTWS_OK);
    CHECK_INT(mtws_send(p.ws, MTWS_TEXT, "x", 1, 0, &id), MTWS_OK);
    CHECK_UINT(id, 3);
    p.last_id = 3;
    peer_start(&p);
    peer_advance(&p, 1000);
    CHECK_STR(peer_client_said(&p), "text bin text:x /");
    check_fates(&p, 3, 3);
    peer_finish(&p);
}

static void text_must_be_utf8(void) {
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"", true},
        {"plain", true},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\xff", false},
        {"\x80", false},
        {"a\xc3", false},
        {"\xc0\x80", false},
        {"\xed\xa0\x80", false},
        {"\xf4\x90\x80\x80", false},
        {"\xe2\x82", false},
        {"0123456789abcdef0123456789abcdef\xfe", false},
    };
    peer p;
    peer_init(&p);
    peer_open_up(&p);
    uint64_t valid = 0;
    for (size_t i = 0; i < COUNT(rows); i++) {
        test_context("row %zu", i);
        CHECK_INT(peer_queue_text(&p, rows[i].text), rows[i].valid ? MTWS_OK : MTWS_ERR_UTF8);
        valid += rows[i].valid;
        CHECK_UINT(p.last_id, valid);
        CHECK_UINT(queued_messages(&p), valid);
    }
    CHECK_INT(peer_queue(&p, MTWS_BINARY, "\xff\xfe", 2, 0), MTWS_OK);
    peer_advance(&p, 1000);
    CHECK_UINT(p.message_count, valid + 1);
    peer_finish(&p);
}

/* What is queued is a copy. */
static void data_is_copied(void) {
    char text[] = "before";
    peer p;
    peer_init(&p);
    peer_open_up(&p);
    CHECK_INT(mtws_send_text(p.ws, text), MTWS_OK);
    memcpy(text, "after!", 6);
    peer_run(&p);
    CHECK_STR(peer_client_said(&p), "text:before /");
    p.last_id = 1;
    peer_finish(&p);
}

/* ---- fragments ------------------------------------------------------------------------------- */

static void fragments(void) {
    static const size_t sizes[] = {0,    1,    124,   125,   126,   127,    999,   1000,
                                   1001, 2000, 65535, 65536, 65537, 131072, 200000};
    static const size_t limits[] = {1, 125, 126, 1000, 0, 65536, 70000, MTWS_WHOLE_MESSAGES};
    for (size_t i = 0; i < COUNT(sizes) * COUNT(limits); i++) {
        size_t size = sizes[i / COUNT(limits)];
        size_t limit = limits[i % COUNT(limits)];
        if (limit == 1 && size > 2000) {
            continue;
        }
        if (!test_begin("%zu bytes, max_frame_size %zu", size, limit)) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.options.max_frame_size = limit;
        p.options.max_queue_size = 4000000;
        if (peer_open_up(&p)) {
            wire_buffer message = {0};
            wire_filler(&message, false, size);
            CHECK_INT(peer_queue(&p, MTWS_BINARY, message.data, size, 0), MTWS_OK);
            peer_run(&p);
            if (CHECK_UINT(p.message_count, 1) && CHECK_UINT(p.messages[0].size, size)) {
                CHECK_MEM(p.messages_data.data, message.data, size);
            }
            size_t most = limit == 0 ? 65536 : limit;
            size_t frames = size == 0 ? 1 : size / most + (size % most != 0);
            CHECK_UINT(p.frame_count - peer_count_frames(&p, WIRE_PING), frames);
            for (size_t k = 0; k < p.frame_count; k++) {
                CHECK(p.frames[k].size <= most);
            }
            wire_free(&message);
        }
        peer_finish(&p);
        test_end();
    }
}

/* Control frames go in between the frames of a long message, and never within one: on a slow link
 * a Pong leaves within the next frames, also where the transport must be given again what it did
 * not take. */
static void control_frames_do_not_wait(void) {
    peer p;
    peer_init(&p);
    p.options.max_frame_size = 20000;
    p.options.heartbeat_interval_ms = MTWS_OFF;
    if (peer_open_up(&p)) {
        CHECK_INT(queue_number(&p, 0, 900000, 0), MTWS_OK);
        p.write_budget = 25000;
        peer_run(&p);
        peer_stream(&p, "ping:now");
        size_t before = p.up_total;
        while (peer_count_frames(&p, WIRE_PONG) == 0 && p.up_total < 900000) {
            p.write_budget = 5000;
            peer_run(&p);
        }
        CHECK_RANGE(p.up_total - before, 0, 100000);
        CHECK_UINT(p.message_count, 0);
        p.write_budget = SIZE_MAX;
        peer_advance(&p, 1000);
        CHECK_UINT(p.message_count, 1);
        check_fates(&p, 1, 1);
    }
    peer_finish(&p);
}

/* ---- writing in pieces ----------------------------------------------------------------------- */

static const size_t mixed_sizes[] = {4, 125, 126, 127, 400, 5, 1000, 2300, 4, 60};

static void send_mixed(peer *p) {
    for (unsigned i = 0; i < COUNT(mixed_sizes); i++) {
        CHECK_INT(queue_number(p, i, mixed_sizes[i], 0), MTWS_OK);
    }
}

static void mixed_options(mtws_options *options) {
    options->max_frame_size = 700;
    options->max_queue_size = 20000;
    options->max_reconnect_attempts = MTWS_UNLIMITED;
}

/* How many bytes the request takes, and all of the connection. */
static void measure(size_t *request_size, size_t *total) {
    peer p;
    peer_init(&p);
    mixed_options(&p.options);
    peer_open_up(&p);
    *request_size = p.upgrade_size;
    send_mixed(&p);
    peer_advance(&p, 200);
    *total = p.up_total;
    peer_finish(&p);
}

static void check_mixed(peer *p) {
    CHECK_UINT(p->message_count, COUNT(mixed_sizes));
    check_arrived(p, COUNT(mixed_sizes));
    check_unchanged(p, mixed_sizes);
    check_fates(p, COUNT(mixed_sizes), COUNT(mixed_sizes));
    CHECK_INT(p->connections, 1);
}

/* The transport takes k bytes a call, with an AGAIN behind each or without. */
static void partial_writes(void) {
    for (size_t size = 1; size < 1400; size += size < 140 ? 1 : 97) {
        for (int pause = 0; pause < 2; pause++) {
            if (!test_sampled() ||
                !test_begin("%zu bytes a write%s", size, pause ? ", AGAIN between" : "")) {
                continue;
            }
            peer p;
            peer_init(&p);
            mixed_options(&p.options);
            p.write_size = size;
            p.write_pause = pause != 0;
            peer_open_up(&p);
            send_mixed(&p);
            peer_stream(&p, "ping:between");
            peer_advance(&p, 1000);
            check_mixed(&p);
            CHECK_STR(strchr(peer_client_said(&p), '/'), "/ pong:between");
            peer_finish(&p);
            test_end();
        }
    }
}

/* AGAIN at each byte; meanwhile other messages come, and Pings are to be answered. */
static void again_at_each_byte(void) { /* FAULTS row 49 */
    size_t request_size, total;
    measure(&request_size, &total);
    for (size_t at = 1; at < total && !test_failing(); at += at < 900 ? 1 : 7) {
        if (!test_sampled()) continue;
        peer p;
        peer_init(&p);
        mixed_options(&p.options);
        test_context("at byte %zu", at);
        p.write_budget = at;
        peer_start(&p);
        peer_run(&p);
        send_mixed(&p);
        peer_run(&p);
        if (p.upgraded) {
            peer_stream(&p, "ping:a ping:b");
        }
        peer_run(&p);
        p.write_budget = SIZE_MAX;
        peer_advance(&p, 1000);
        check_mixed(&p);
        test_context("%s", "");
        peer_finish(&p);
    }
}

/* ---- connections that die -------------------------------------------------------------------- */

typedef struct death {
    const char *name;
    size_t unseen; /* bytes that were taken and never reached the server */
    bool deaf;     /* its answers are lost */
    int with;
    uint32_t latency_ms;
} death;

static const death deaths[] = {
    {"reset", 0, false, MTWS_IO_ERROR, 0},
    {"end of stream", 0, false, MTWS_IO_EOF, 0},
    {"reset, answers lost", 0, true, MTWS_IO_ERROR, 0},
    {"reset, 100 bytes lost", 100, true, MTWS_IO_ERROR, 0},
    {"end, 1500 bytes lost", 1500, true, MTWS_IO_EOF, 0},
    {"reset, slow answers", 0, true, MTWS_IO_ERROR, 70},
};

/* Lives through plans, the last of which is good. */
static void live_through(peer *p, const peer_plan *plans, size_t count, unsigned flags) {
    peer_init(p);
    mixed_options(&p->options);
    p->plans = plans;
    p->plan_count = count;
    CHECK_INT(mtws_create(&p->ws, &p->options), MTWS_OK);
    if ((flags & MTWS_NO_QUEUE) == 0) {
        for (unsigned i = 0; i < COUNT(mixed_sizes) / 2; i++) {
            CHECK_INT(queue_number(p, i, mixed_sizes[i], flags), MTWS_OK);
        }
    }
    peer_start(p);
    peer_advance(p, 30);
    for (unsigned i = COUNT(mixed_sizes) / 2; i < COUNT(mixed_sizes); i++) {
        CHECK_INT(queue_number(p, i, mixed_sizes[i], flags), MTWS_OK);
    }
    peer_advance(p, 120000);
    CHECK_INT(p->last_state, MTWS_STATE_CONNECTED);
}

/* The connection dies at any byte of what the client writes: by the end all messages arrived, in
 * order, and each ended in one DELIVERED. */
static void dies_at_each_byte(void) { /* FAULTS row 42 */
    size_t request_size, total;
    measure(&request_size, &total);
    for (size_t k = 0; k < COUNT(deaths); k++) {
        if (!test_begin("%s", deaths[k].name)) {
            continue;
        }
        size_t step = k == 0 ? 1 : 5;
        for (size_t at = 1 + k; at < total && !test_failing(); at += step) {
            if (!test_sampled()) continue;
            peer_plan plans[2] = {{0}, {0}};
            plans[0].die_at = at;
            plans[0].die_unseen = deaths[k].unseen < at ? deaths[k].unseen : at;
            plans[0].die_deaf = deaths[k].deaf;
            plans[0].die_with = deaths[k].with;
            plans[0].latency_ms = deaths[k].latency_ms;
            plans[1].latency_ms = deaths[k].latency_ms;
            peer p;
            test_context("at byte %zu of %zu", at, total);
            live_through(&p, plans, 2, 0);
            CHECK_INT(p.connections, 2);
            check_arrived(&p, COUNT(mixed_sizes));
            check_unchanged(&p, mixed_sizes);
            check_fates(&p, COUNT(mixed_sizes), COUNT(mixed_sizes));
            test_context("%s", "");
            peer_finish(&p);
        }
        test_end();
    }
}

/* Three connections die, each elsewhere. */
static void dies_again_and_again(void) {
    size_t request_size, total;
    measure(&request_size, &total);
    for (size_t k = 0; k < COUNT(deaths); k++) {
        if (!test_begin("%s", deaths[k].name)) {
            continue;
        }
        for (unsigned run = 0; run < 150 && !test_failing(); run++) {
            if (!test_sampled()) continue;
            peer_plan plans[4];
            memset(plans, 0, sizeof plans);
            for (size_t i = 0; i < 3; i++) {
                plans[i].die_at = request_size + 1 +
                                  (run * 7919 + i * 104729 * (run + 3)) % (total - request_size);
                plans[i].die_unseen = deaths[k].unseen % (plans[i].die_at - request_size);
                plans[i].die_deaf = deaths[k].deaf;
                plans[i].die_with = deaths[k].with;
                plans[i].latency_ms = deaths[k].latency_ms;
            }
            peer p;
            test_context("run %u: %zu %zu %zu", run, plans[0].die_at, plans[1].die_at,
                         plans[2].die_at);
            live_through(&p, plans, 4, 0);
            check_arrived(&p, COUNT(mixed_sizes));
            check_unchanged(&p, mixed_sizes);
            check_fates(&p, COUNT(mixed_sizes), COUNT(mixed_sizes));
            test_context("%s", "");
            peer_finish(&p);
        }
        test_end();
    }
}

/* MTWS_ONCE: nothing arrives twice; what had left whole and was not confirmed is DROPPED, and says
 * so; the rest is kept and arrives. */
static void at_most_once(void) { /* FAULTS row 42 */
    size_t request_size, total;
    measure(&request_size, &total);
    for (size_t k = 0; k < COUNT(deaths); k++) {
        if (!test_begin("%s", deaths[k].name)) {
            continue;
        }
        for (size_t at = request_size + 1; at < total && !test_failing(); at += 3) {
            if (!test_sampled()) continue;
            peer_plan plans[2] = {{0}, {0}};
            plans[0].die_at = at;
            plans[0].die_unseen = deaths[k].unseen % (at - request_size);
            plans[0].die_deaf = deaths[k].deaf;
            plans[0].die_with = deaths[k].with;
            plans[0].latency_ms = deaths[k].latency_ms;
            peer p;
            test_context("at byte %zu", at);
            live_through(&p, plans, 2, MTWS_ONCE);
            uint8_t seen[COUNT(mixed_sizes)] = {0};
            for (size_t i = 0; i < p.message_count; i++) {
                CHECK_UINT(seen[number_of(&p, i)], 0);
                seen[number_of(&p, i)] = 1;
            }
            check_unchanged(&p, mixed_sizes);
            CHECK_UINT(p.settled, COUNT(mixed_sizes));
            for (unsigned i = 0; i < COUNT(mixed_sizes); i++) {
                CHECK_TEXT(p.fates[i + 1] == 2 || seen[i], "%u is delivered and never arrived", i);
            }
            for (size_t i = 0; i < p.event_count; i++) {
                const mtws_event *event = &p.events[i].event;
                if (event->type == MTWS_EVENT_DROPPED) {
                    CHECK(event->written);
                    CHECK_INT(event->result, MTWS_ERR_RESET);
                }
            }
            test_context("%s", "");
            peer_finish(&p);
        }
        test_end();
    }
}

/* options.at_most_once is MTWS_ONCE for all. */
static void at_most_once_option(void) {
    static const peer_plan plans[] = {{.no_pong = true}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.at_most_once = true;
    peer_open_up(&p);
    peer_queue_text(&p, "one");
    peer_run(&p);
    peer_end(&p, MTWS_IO_ERROR);
    peer_queue_text(&p, "two");
    p.write_budget = 0;
    peer_run(&p);
    p.write_budget = SIZE_MAX;
    peer_advance(&p, 5000);
    CHECK_STR(peer_client_said(&p), "text:one text:two /");
    check_fates(&p, 2, 1);
    CHECK_UINT(p.fates[1], 2);
    peer_finish(&p);
}

/* No event names a message that another settled, so a program may count by subtraction. */
static void no_range_over_settled_ones(void) {
    static const peer_plan plans[] = {{.no_pong = true}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    peer_open_up(&p);
    peer_queue_text(&p, "one");
    peer_queue(&p, MTWS_TEXT, "two", 3, MTWS_ONCE);
    peer_queue_text(&p, "three");
    peer_run(&p);
    peer_end(&p, MTWS_IO_ERROR);
    peer_advance(&p, 5000);
    CHECK_STR(peer_client_said(&p), "text:one text:two text:three text:one text:three /");
    uint64_t dropped = 0, delivered = 0;
    for (size_t i = 0; i < p.event_count; i++) {
        const mtws_event *event = &p.events[i].event;
        uint64_t count = event->id - event->first_id + 1;
        dropped += event->type == MTWS_EVENT_DROPPED ? count : 0;
        delivered += event->type == MTWS_EVENT_DELIVERED ? count : 0;
    }
    CHECK_UINT(dropped, 1);
    CHECK_UINT(delivered, 2);
    check_fates(&p, 3, 2);
    peer_finish(&p);
}

/* MTWS_NO_QUEUE and MTWS_FIRST belong to the connection: DROPPED with it, never sent again. */
static void bound_to_the_connection(void) {
    static const unsigned flags[] = {MTWS_NO_QUEUE, MTWS_FIRST, MTWS_FIRST | MTWS_NO_QUEUE,
                                     MTWS_NO_QUEUE | MTWS_ONCE};
    for (size_t i = 0; i < 3 * COUNT(flags); i++) {
        static const char *const whens[] = {"not written", "written", "confirmed"};
        size_t when = i % 3;
        if (!test_begin("flags %u, %s", flags[i / 3], whens[when])) {
            continue;
        }
        static const peer_plan plans[] = {{.latency_ms = 50}, {0}};
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
        CHECK_INT(peer_queue(&p, MTWS_TEXT, "x", 1, flags[i / 3]), MTWS_ERR_STATE);
        peer_start(&p);
        CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 1000));
        p.write_budget = when == 0 ? 0 : SIZE_MAX;
        CHECK_INT(queue_number(&p, 0, 10, flags[i / 3]), MTWS_OK);
        CHECK_INT(queue_number(&p, 1, 10, 0), MTWS_OK);
        peer_run(&p);
        peer_advance(&p, when == 2 ? 500 : 10);
        peer_end_at(&p, 0, MTWS_IO_ERROR);
        peer_run(&p);
        CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
        p.write_budget = SIZE_MAX;
        CHECK_UINT(p.fates == NULL ? 0 : p.fates[1], when == 2 ? 1 : 2);
        peer_advance(&p, 5000);
        size_t arrived = 0;
        for (size_t k = 0; k < p.message_count; k++) {
            arrived += number_of(&p, k) == 0;
        }
        CHECK_UINT(arrived, when > 0);
        check_fates(&p, 2, when == 2 ? 2 : 1);
        for (size_t k = 0; k < p.event_count; k++) {
            const mtws_event *event = &p.events[k].event;
            if (event->type == MTWS_EVENT_DROPPED) {
                CHECK_INT(event->written, when == 1);
                CHECK_INT(event->result, MTWS_ERR_RESET);
            }
        }
        peer_finish(&p);
        test_end();
    }
}

/* FAULTS row 15, CVE-2025-10148. Each frame that is sent again has another masking key: the harness
 * compares all, and here the wire bytes of one message differ on each of ten connections. */
static void fresh_masks_each_time(void) {
    peer_plan plans[10];
    memset(plans, 0, sizeof plans);
    for (size_t i = 0; i < 9; i++) {
        plans[i].die_at = 100000;
        plans[i].no_pong = true;
    }
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.max_reconnect_attempts = MTWS_UNLIMITED;
    peer_start(&p);
    queue_number(&p, 0, 10, 0);
    for (int i = 0; i < 9; i++) {
        CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 60000));
        peer_advance(&p, 10);
        peer_end(&p, MTWS_IO_ERROR);
        peer_run(&p);
    }
    peer_advance(&p, 60000);
    CHECK_UINT(p.message_count, 10);
    check_fates(&p, 1, 1);
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DELIVERED), 1);
    mtws_stats stats;
    mtws_get_stats(p.ws, &stats);
    CHECK_UINT(stats.resent, 9);
    CHECK_UINT(stats.messages_sent, 10);
    peer_finish(&p);
}

/* ---- confirmation ---------------------------------------------------------------------------- */

static void confirmation_needs_a_pong(void) { /* FAULTS row 44 */
    static const peer_plan plans[] = {{.no_pong = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    peer_open_up(&p);
    for (unsigned i = 0; i < 5; i++) {
        queue_number(&p, i, 10, 0);
    }
    peer_run(&p);
    CHECK_UINT(p.message_count, 5);
    CHECK_UINT(peer_count_frames(&p, WIRE_PING), 0);
    peer_advance(&p, 99);
    CHECK_UINT(peer_count_frames(&p, WIRE_PING), 0);
    peer_advance(&p, 1);
    CHECK_UINT(peer_count_frames(&p, WIRE_PING), 1);
    mtws_stats stats;
    mtws_get_stats(p.ws, &stats);
    CHECK_UINT(stats.unconfirmed_messages, 5);
    peer_advance(&p, 1000);
    CHECK_UINT(p.settled, 0);
    CHECK_UINT(peer_count_frames(&p, WIRE_PING), 1);
    /* Wrong ones confirm nothing. */
    const peer_frame *ping = &p.frames[p.frame_count - 1];
    wire_buffer payload = {0}, out = {0};
    wire_add(&payload, p.payloads.data + ping->at, ping->size);
    peer_stream(&p, "pong pong:x pong:0123456789abcdef");
    payload.data[payload.size - 1] ^= 1;
    wire_frame(&out, WIRE_PONG, true, payload.data, payload.size);
    payload.data[payload.size - 1] ^= 1;
    wire_frame(&out, WIRE_PONG, true, payload.data, payload.size - 1);
    wire_frame(&out, WIRE_PING, true, payload.data, payload.size);
    peer_send(&p, out.data, out.size);
    peer_run(&p);
    CHECK_UINT(p.settled, 0);
    out.size = 0;
    wire_frame(&out, WIRE_PONG, true, payload.data, payload.size);
    wire_frame(&out, WIRE_PONG, true, payload.data, payload.size); /* twice: the second is stale */
    peer_send(&p, out.data, out.size);
    peer_run(&p);
    check_fates(&p, 5, 5);
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DELIVERED), 1);
    wire_free(&payload);
    wire_free(&out);
    peer_finish(&p);
}

/* FAULTS row 45: a server that takes everything and never answers a Ping is dead, time and again;
 * nothing is DELIVERED, nothing DROPPED, all of it is sent again to the next. */
static void reads_and_never_answers(void) {
    static const peer_plan plans[] = {{.no_pong = true}, {.no_pong = true}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.heartbeat_interval_ms = 1000;
    p.options.heartbeat_timeout_ms = 500;
    peer_start(&p);
    for (unsigned i = 0; i < 5; i++) queue_number(&p, i, 10, 0);
    for (int i = 1; i <= 2; i++) {
        CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 10000));
        uint64_t opened_us = p.now_us;
        for (int k = 0; k < 4; k++) {
            peer_stream(&p, "text:alive ping:yes");
            peer_advance(&p, 200);
        }
        CHECK(peer_reach(&p, MTWS_STATE_RECONNECTING, 10000));
        CHECK_RANGE(p.now_us - opened_us, 500000, 1550000);
        CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_ERR_HEARTBEAT);
        CHECK_UINT(p.settled, 0);
        CHECK(p.message_count >= 5);
    }
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 10000));
    peer_advance(&p, 3000);
    check_fates(&p, 5, 5);
    check_arrived(&p, 5);
    peer_finish(&p);
}

/* Up to four Pings under way, one for each quarter of the ring; the latest Pong confirms all. */
static void pongs_are_cumulative(void) {
    static const peer_plan plans[] = {{.no_pong = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.max_queue_size = 10000;
    peer_open_up(&p);
    unsigned sent = 0;
    for (int i = 0; i < 40; i++) {
        for (int k = 0; k < 13 && queue_number(&p, sent, 200, 0) == MTWS_OK; k++) {
            sent++;
        }
        peer_run(&p);
    }
    size_t pings = peer_count_frames(&p, WIRE_PING);
    CHECK_RANGE(pings, 3, 4);
    peer_advance(&p, 1000);
    CHECK_RANGE(peer_count_frames(&p, WIRE_PING), 3, 4);
    CHECK_UINT(p.message_count, sent);
    for (size_t i = p.frame_count; i-- > 0;) {
        if (p.frames[i].opcode == WIRE_PING) {
            wire_buffer out = {0};
            wire_frame(&out, WIRE_PONG, true, p.payloads.data + p.frames[i].at, p.frames[i].size);
            peer_send(&p, out.data, out.size);
            wire_free(&out);
            break;
        }
    }
    peer_run(&p);
    CHECK_UINT(p.settled, sent);
    peer_finish(&p);
}

static void confirmation_by_writing(void) {
    static const peer_plan plans[] = {{.no_pong = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.confirm = MTWS_CONFIRM_NONE;
    peer_open_up(&p);
    p.write_budget = 3;
    queue_number(&p, 0, 10, 0);
    peer_run(&p);
    CHECK_UINT(p.settled, 0);
    p.write_budget = SIZE_MAX;
    peer_run(&p);
    check_fates(&p, 1, 1);
    peer_advance(&p, 20000);
    CHECK_UINT(peer_count_frames(&p, WIRE_PING), 0);
    peer_finish(&p);
}

static void confirmation_by_the_program(void) {
    static const peer_plan plans[] = {{0}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.confirm = MTWS_CONFIRM_PROGRAM;
    peer_open_up(&p);
    for (unsigned i = 0; i < 6; i++) {
        queue_number(&p, i, 10, 0);
    }
    peer_advance(&p, 60000);
    CHECK_UINT(p.message_count, 6);
    CHECK_UINT(p.settled, 0);
    CHECK_INT(mtws_confirm(p.ws, 7), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_confirm(p.ws, 0), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_confirm(p.ws, 2), MTWS_OK);
    peer_run(&p);
    check_fates(&p, 2, 2);
    peer_end(&p, MTWS_IO_ERROR);
    peer_run(&p);
    CHECK_INT(mtws_confirm(p.ws, 3), MTWS_OK); /* between connections too */
    peer_advance(&p, 5000);
    check_fates(&p, 3, 3);
    CHECK_UINT(p.message_count, 9);
    CHECK_UINT(number_of(&p, 6), 3);
    CHECK_INT(mtws_confirm(p.ws, 6), MTWS_OK);
    CHECK_INT(mtws_confirm(p.ws, 1), MTWS_OK);
    peer_run(&p);
    check_fates(&p, 6, 6);
    peer_finish(&p);

    peer_init(&p);
    peer_open_up(&p);
    CHECK_INT(mtws_confirm(p.ws, 1), MTWS_ERR_STATE);
    peer_finish(&p);
}

/* confirm_delay_ms MTWS_OFF: mtws_disconnect asks once, when the last message has left. */
static void confirmation_before_the_end(void) {
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"what was written", "what was not", "nothing"};
        if (!test_begin("%s", names[i])) continue;
        static const peer_plan plans[] = {{.latency_ms = 30}};
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        p.options.confirm_delay_ms = MTWS_OFF;
        p.write_size = 20;
        p.write_pause = true;
        peer_open_up(&p);
        for (unsigned n = 0; n < 8 && i < 2; n++) queue_number(&p, n, 50, 0);
        if (i == 0) peer_advance(&p, 1000);
        CHECK_INT(mtws_disconnect(p.ws, 1000, NULL), MTWS_OK);
        peer_advance(&p, 200);
        CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
        CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_OK);
        CHECK_UINT(peer_count_frames(&p, WIRE_PING), i < 2 ? 1 : 0);
        if (i < 2) check_fates(&p, 8, 8);
        peer_finish(&p);
        test_end();
    }
}

/* confirm_delay_ms MTWS_OFF: only heartbeats ask. */
static void confirmation_by_heartbeats(void) {
    peer p;
    peer_init(&p);
    p.options.confirm_delay_ms = MTWS_OFF;
    p.options.heartbeat_interval_ms = 5000;
    peer_open_up(&p);
    queue_number(&p, 0, 10, 0);
    peer_advance(&p, 4990);
    CHECK_UINT(peer_count_frames(&p, WIRE_PING), 0);
    CHECK_UINT(p.settled, 0);
    peer_advance(&p, 20);
    CHECK_UINT(peer_count_frames(&p, WIRE_PING), 1);
    check_fates(&p, 1, 1);
    peer_finish(&p);
}

/* A server slower than the heartbeat timeout for the backlog that it is sent: progress with every
 * connection, never the same messages for ever. */
static void slow_servers_make_progress(void) { /* FAULTS row 43a */
    static const struct {
        uint32_t rate;
        unsigned count;
        size_t size;
        int most;
    } rows[] = {
        /* Where a timeout has room for two messages, one a connection is what can be had. */
        {2000, 100, 1000, 102},
        {1000, 40, 900, 42},
        {20000, 300, 1000, 20},
        {100000, 900, 1000, 10},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%u bytes a second, %u messages", (unsigned)rows[i].rate, rows[i].count)) {
            continue;
        }
        peer_plan plan = {.rate = rows[i].rate};
        peer p;
        peer_init(&p);
        p.plans = &plan;
        p.options.heartbeat_interval_ms = 2000;
        p.options.heartbeat_timeout_ms = 1000;
        p.options.max_reconnect_attempts = MTWS_UNLIMITED;
        p.options.max_queue_size = 4000000;
        p.options.max_reconnect_delay_ms = 1000;
        CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
        for (unsigned k = 0; k < rows[i].count; k++) {
            CHECK_INT(queue_number(&p, k, rows[i].size, 0), MTWS_OK);
        }
        peer_start(&p);
        for (int k = 0; k < 4000 && p.settled < rows[i].count && p.bad.size == 0; k++) {
            peer_advance(&p, 100);
        }
        check_fates(&p, rows[i].count, rows[i].count);
        check_arrived(&p, rows[i].count);
        CHECK_RANGE(p.connections, 1, rows[i].most);
        peer_finish(&p);
        test_end();
    }
}

/* A message that makes the server close each time is dropped after three, the rest flows. */
static void close_on_poison(peer *p, const peer_message *message) {
    if (message->size >= 6 && memcmp(p->messages_data.data + message->at, "poison", 6) == 0) {
        peer_stream(p, (const char *)p->context);
        peer_end(p, MTWS_IO_EOF);
        p->server_closed = true;
    }
}

static void poison(void) { /* FAULTS row 43b */
    static const struct {
        const char *close;
        bool dropped;
    } rows[] = {{"close:1003", true},  {"close:1007", true},  {"close:1008", true},
                {"close:1009", true},  {"close:1011", true},  {"close:1000", false},
                {"close:1001", false}, {"close:1012", false}, {"close:4000", false}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].close)) {
            continue;
        }
        char close[20];
        snprintf(close, sizeof close, "%s", rows[i].close);
        peer p;
        peer_init(&p);
        p.on_message = close_on_poison;
        p.context = close;
        p.options.max_reconnect_attempts = MTWS_UNLIMITED;
        p.options.max_reconnect_delay_ms = 500;
        peer_start(&p);
        queue_number(&p, 0, 10, 0);
        peer_queue_text(&p, "poison");
        queue_number(&p, 1, 10, 0);
        queue_number(&p, 2, 10, 0);
        peer_advance(&p, 60000);
        if (rows[i].dropped) {
            check_fates(&p, 4, 3);
            CHECK_UINT(p.fates[2], 2);
            CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
            CHECK_RANGE(p.connections, 4, 6);
        } else {
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DROPPED), 0);
            CHECK(p.connections > 20);
            p.on_message = NULL;
            peer_advance(&p, 60000);
            check_fates(&p, 4, 4);
        }
        peer_finish(&p);
        test_end();
    }
}

/* In a row: a connection that ends otherwise in between begins the count anew. */
static void close_in_turn(peer *p, const peer_message *message) {
    static const char *const closes[] = {"close:1009", "close:1009", "close:1001",
                                         "close:1009", "close:1009", "close:1009"};
    if (p->connections > 6) return;
    p->context = (void *)(uintptr_t)closes[p->connections - 1];
    close_on_poison(p, message);
}

static void poison_now_and_then(void) {
    peer p;
    peer_init(&p);
    p.on_message = close_in_turn;
    p.options.max_reconnect_attempts = MTWS_UNLIMITED;
    p.options.max_reconnect_delay_ms = 500;
    peer_start(&p);
    peer_queue_text(&p, "poison");
    queue_number(&p, 0, 10, 0);
    while (p.connections < 6 && p.now_us < 300000000000u) {
        CHECK_UINT(p.settled, 0);
        peer_advance(&p, 100);
    }
    peer_advance(&p, 60000);
    CHECK_INT(p.connections, 7);
    CHECK_UINT(p.fates[1], 2);
    check_fates(&p, 2, 1);
    peer_finish(&p);
}

/* ---- a full queue ---------------------------------------------------------------------------- */

static void queue_full(void) { /* FAULTS row 41 */
    for (int connected = 0; connected < 2; connected++) {
        if (!test_begin("%s", connected ? "connected" : "before connecting")) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.options.max_queue_size = 3000;
        if (connected) {
            peer_open_up(&p);
            p.write_budget = 0;
        } else {
            CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
        }
        size_t sizes[100];
        unsigned count = 0;
        while (queue_number(&p, count, 250, 0) == MTWS_OK) {
            sizes[count++] = 250;
        }
        CHECK_RANGE(count, 10, 11);
        mtws_stats before, after;
        mtws_get_stats(p.ws, &before);
        for (int i = 0; i < 5; i++) {
            CHECK_INT(queue_number(&p, count, 600, 0), MTWS_ERR_QUEUE_FULL);
        }
        mtws_get_stats(p.ws, &after);
        CHECK_UINT(after.queued_bytes, before.queued_bytes);
        CHECK_UINT(after.queued_messages, count);
        CHECK_INT(queue_number(&p, count, 2999, 0), MTWS_ERR_TOO_BIG);
        if (connected) {
            peer_run(&p);
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_WRITABLE), 0);
            p.write_budget = SIZE_MAX;
        } else {
            peer_start(&p);
        }
        peer_advance(&p, 1000);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_WRITABLE), 1);
        sizes[count] = 600;
        CHECK_INT(queue_number(&p, count, 600, 0), MTWS_OK);
        peer_advance(&p, 1000);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_WRITABLE), 1);
        check_arrived(&p, count + 1);
        check_unchanged(&p, sizes);
        check_fates(&p, count + 1, count + 1);
        peer_finish(&p);
        test_end();
    }
}

/* WRITABLE says that what was refused would fit now; a smaller room brings none. */
static void writable_when_it_fits(void) { /* FAULTS row 41 */
    static const peer_plan plans[] = {{.no_pong = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.max_queue_size = 2000;
    p.options.confirm = MTWS_CONFIRM_NONE;
    peer_open_up(&p);
    p.write_budget = 0;
    for (unsigned i = 0; i < 4; i++) {
        CHECK_INT(queue_number(&p, i, 450, 0), MTWS_OK);
    }
    CHECK_INT(queue_number(&p, 4, 1500, 0), MTWS_ERR_QUEUE_FULL);
    for (int i = 0; i < 4; i++) {
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_WRITABLE), 0);
        p.write_budget = i < 3 ? 458 : SIZE_MAX;
        peer_run(&p);
        if (peer_count_events(&p, MTWS_EVENT_WRITABLE) > 0) {
            break;
        }
    }
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_WRITABLE), 1);
    CHECK_INT(queue_number(&p, 4, 1500, 0), MTWS_OK);
    peer_finish(&p);
}

/* The index has its limit too: many tiny messages. */
static void queue_full_of_tiny_messages(void) {
    peer p;
    peer_init(&p);
    p.options.max_queue_size = 12800;
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    unsigned count = 0;
    while (count < 5000 && peer_queue(&p, MTWS_TEXT, "x", 1, 0) == MTWS_OK) {
        count++;
    }
    CHECK_RANGE(count, 100, 2000);
    CHECK_INT(peer_queue(&p, MTWS_TEXT, "x", 1, 0), MTWS_ERR_QUEUE_FULL);
    peer_start(&p);
    peer_advance(&p, 1000);
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_WRITABLE), 1);
    CHECK_UINT(p.message_count, count);
    check_fates(&p, count, count);
    peer_finish(&p);
}

/* The ring goes round many times, whatever the sizes. */
static void the_ring_goes_round(void) {
    peer p;
    peer_init(&p);
    p.options.max_queue_size = 1777;
    p.options.max_frame_size = 130;
    p.options.confirm_delay_ms = 1;
    peer_open_up(&p);
    size_t sizes[1000];
    unsigned count = 0, refused = 0;
    while (count < 900 && refused < 10000) {
        sizes[count] = 4 + (count * 131 + count * count * 17) % 700;
        if (queue_number(&p, count, sizes[count], 0) == MTWS_OK) {
            count++;
        } else {
            refused++;
            peer_advance(&p, 2);
        }
    }
    peer_advance(&p, 100);
    CHECK_UINT(p.message_count, 900);
    check_arrived(&p, 900);
    check_unchanged(&p, sizes);
    check_fates(&p, 900, 900);
    peer_finish(&p);
}

static void drop_oldest(void) {
    peer p;
    peer_init(&p);
    p.options.max_queue_size = 300000;
    p.options.drop_oldest = true;
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    for (unsigned i = 0; i < 50; i++) {
        CHECK_INT(queue_number(&p, i, 25000, 0), MTWS_OK);
    }
    CHECK_INT(queue_number(&p, 50, 299999, 0), MTWS_ERR_TOO_BIG);
    peer_start(&p);
    peer_advance(&p, 1000);
    CHECK_UINT(p.message_count, 11);
    CHECK_UINT(number_of(&p, 0), 39);
    check_fates(&p, 50, 11);
    for (size_t i = 0; i < p.event_count; i++) {
        const mtws_event *event = &p.events[i].event;
        if (event->type == MTWS_EVENT_DROPPED) {
            CHECK_INT(event->result, MTWS_ERR_QUEUE_FULL);
            CHECK(!event->written);
        }
    }
    /* What is on the wire is not dropped for another. */
    p.write_budget = 1000;
    for (unsigned i = 50; i < 90; i++) {
        CHECK_INT(queue_number(&p, i, 25000, 0), MTWS_OK);
        peer_poll(&p);
    }
    p.write_budget = SIZE_MAX;
    peer_advance(&p, 1000);
    CHECK_UINT(number_of(&p, 11), 50);
    CHECK_UINT(p.settled, 90);
    unsigned last = 50;
    for (size_t i = 12; i < p.message_count; i++) {
        CHECK(number_of(&p, i) > last);
        last = number_of(&p, i);
    }
    CHECK_UINT(last, 89);
    peer_finish(&p);
}

/* Nor do messages that have come keep waiting what it sends. */
static void replies_at_a_slow_rate(void) {
    peer p;
    peer_init(&p);
    peer_open_up(&p);
    for (int i = 0; i < 30; i++) peer_stream(&p, "text:x");
    CHECK_INT(peer_poll(&p), 1);
    CHECK_INT(queue_number(&p, 0, 10, 0), MTWS_OK);
    for (int i = 0; i < 2; i++) {
        peer_sleep(&p, 16);
        CHECK_INT(peer_poll(&p), 1);
    }
    CHECK_UINT(p.message_count, 1);
    peer_finish(&p);
}

/* A program that polls once a frame, and brings about an event each time: that does not keep the
 * connection waiting, nor the attempt at one. */
static void an_event_each_poll(void) {
    static const peer_plan plans[] = {{.die_at = 600}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.max_queue_size = 100;
    p.options.drop_oldest = true;
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    uint64_t taken = 20;
    for (unsigned i = 0; i < 20; i++) queue_number(&p, i, 30, 0);
    peer_start(&p);
    for (unsigned i = 20; i < 500; i++) {
        for (unsigned k = 0; k < 8; k++) taken += queue_number(&p, i, 30, 0) == MTWS_OK;
        peer_poll(&p);
        peer_sleep(&p, 16);
    }
    CHECK_INT(p.connections, 2);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    CHECK_TEXT(p.message_count > 100, "%zu messages have arrived", p.message_count);
    peer_advance(&p, 1000);
    CHECK_UINT(p.settled, taken);
    peer_finish(&p);
}

/* Nor do messages that come faster than such a program takes them keep what became of its own. */
static void a_message_each_poll(void) {
    peer p;
    peer_init(&p);
    p.options.max_queue_size = 400;
    if (!peer_open_up(&p)) return;
    unsigned taken = 0;
    for (unsigned i = 0; i < 600; i++) {
        peer_stream(&p, "text:one text:two");
        taken += queue_number(&p, i, 10, 0) == MTWS_OK;
        peer_poll(&p);
        CHECK_UINT(p.event_count, i + 3); /* connecting, connected, and one each time */
        peer_sleep(&p, 16);
    }
    CHECK_RANGE(peer_count_events(&p, MTWS_EVENT_MESSAGE), 300, 598);
    CHECK_TEXT(p.settled > 20 && taken > 30, "%u messages, and %u of %u are settled",
               (unsigned)peer_count_events(&p, MTWS_EVENT_MESSAGE), (unsigned)p.settled, taken);
    peer_finish(&p);
}

/* ---- time, order, clearing ------------------------------------------------------------------- */

static void time_to_live(void) {
    peer p;
    peer_init(&p);
    p.options.queue_ttl_ms = 5000;
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    queue_number(&p, 0, 10, 0);
    static const peer_plan slow[] = {{.open_never = true}, {0}};
    PEER_PLANS(&p, slow);
    p.options.connect_timeout_ms = 20000;
    peer_start(&p);
    peer_advance(&p, 3000);
    queue_number(&p, 1, 10, 0);
    peer_advance(&p, 1990);
    CHECK_UINT(p.settled, 0);
    peer_advance(&p, 20);
    CHECK_UINT(p.settled, 1);
    peer_advance(&p, 2900);
    CHECK_UINT(p.settled, 1);
    peer_advance(&p, 100);
    check_fates(&p, 2, 0);
    for (size_t i = 0; i < p.event_count; i++) {
        const mtws_event *event = &p.events[i].event;
        if (event->type == MTWS_EVENT_DROPPED) {
            CHECK_INT(event->result, MTWS_ERR_EXPIRED);
            CHECK(!event->written);
        }
    }
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 60000));
    queue_number(&p, 2, 10, 0);
    peer_advance(&p, 60000);
    check_fates(&p, 3, 1);
    CHECK_UINT(p.message_count, 1);
    peer_finish(&p);
}

/* Nothing is to be sent any more, and time passes all the same. */
static void time_to_live_at_rest(void) {
    peer p;
    peer_init(&p);
    p.options.queue_ttl_ms = 5000;
    p.options.max_queue_size = 100;
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    queue_number(&p, 0, 60, 0);
    CHECK_INT(mtws_send_text(p.ws, "no room, no room, no room, no room, no room"),
              MTWS_ERR_QUEUE_FULL);
    p.now_us += 3000000;
    mtws_event event;
    mtws_wait wait;
    CHECK_INT(mtws_poll(p.ws, &event, 0), MTWS_ERR_IDLE);
    mtws_get_wait(p.ws, &wait);
    CHECK_INT(wait.timeout_ms, 2000);
    p.now_us += 2000000;
    CHECK_INT(mtws_poll(p.ws, &event, 0), 1);
    CHECK_INT(event.type, MTWS_EVENT_DROPPED);
    CHECK_INT(event.result, MTWS_ERR_EXPIRED);
    CHECK_INT(mtws_poll(p.ws, &event, 0), 1);
    CHECK_INT(event.type, MTWS_EVENT_WRITABLE);
    CHECK_INT(mtws_poll(p.ws, &event, 0), MTWS_ERR_IDLE);
    mtws_get_wait(p.ws, &wait);
    CHECK_INT(wait.timeout_ms, -1);
    peer_finish(&p);
}

/* What has begun to leave does not expire. */
static void no_expiry_on_the_wire(void) {
    peer p;
    peer_init(&p);
    p.options.queue_ttl_ms = 100;
    p.options.heartbeat_interval_ms = MTWS_OFF;
    peer_open_up(&p);
    p.write_budget = 5;
    queue_number(&p, 0, 100, 0);
    queue_number(&p, 1, 100, 0);
    peer_advance(&p, 1000);
    p.write_budget = SIZE_MAX;
    peer_advance(&p, 1000);
    check_fates(&p, 2, p.message_count);
    CHECK_RANGE(p.message_count, 1, 2);
    CHECK_UINT(p.fates[1], 1);
    peer_finish(&p);
}

/* What came back from a connection that is gone waits like all else, and is not sent again late;
 * the server may have it. */
static void no_late_repetition(void) {
    static const peer_plan plans[] = {{.no_pong = true}, {.open_never = true}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.queue_ttl_ms = 8000;
    p.options.connect_timeout_ms = 3000;
    p.options.max_reconnect_delay_ms = 250;
    peer_open_up(&p);
    queue_number(&p, 0, 10, 0);
    peer_advance(&p, 3000);
    queue_number(&p, 1, 10, 0);
    CHECK(peer_reach(&p, MTWS_STATE_RECONNECTING, 10000));
    CHECK_UINT(p.message_count, 2);
    CHECK_UINT(p.settled, 0);
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 5000));
    peer_advance(&p, 2000);
    check_fates(&p, 2, 1);
    for (size_t i = 0; i < p.event_count; i++) {
        const mtws_event *event = &p.events[i].event;
        if (event->type != MTWS_EVENT_DROPPED) continue;
        CHECK_INT(event->result, MTWS_ERR_EXPIRED);
        CHECK_UINT(event->id, 1);
        CHECK(event->written);
        CHECK_INT(event->state, MTWS_STATE_RECONNECTING);
    }
    CHECK_UINT(p.message_count, 3);
    CHECK_INT(p.messages[2].connection, 2);
    CHECK_MEM(p.messages_data.data + p.messages[2].at, p.messages_data.data + p.messages[1].at, 10);
    peer_finish(&p);
}

static void held_until_released(void) {
    static const peer_plan plans[] = {{0}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.hold_queue = true;
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    peer_queue_text(&p, "backlog");
    CHECK_INT(mtws_release_queue(p.ws), MTWS_ERR_STATE);
    peer_open_up(&p);
    peer_queue(&p, MTWS_TEXT, "login", 5, MTWS_FIRST);
    peer_advance(&p, 1000);
    CHECK_STR(peer_client_said(&p), "text:login /");
    CHECK_UINT(p.fates[2], 1);
    CHECK_INT(mtws_release_queue(p.ws), MTWS_OK);
    peer_advance(&p, 1000);
    CHECK_STR(peer_client_said(&p), "text:login text:backlog /");
    peer_queue_text(&p, "more");
    peer_advance(&p, 1000);
    check_fates(&p, 3, 3);
    /* The next connection holds again. */
    peer_end(&p, MTWS_IO_ERROR);
    peer_queue_text(&p, "later");
    peer_advance(&p, 5000);
    CHECK_STR(peer_client_said(&p), "text:login text:backlog text:more /");
    CHECK_INT(mtws_release_queue(p.ws), MTWS_OK);
    peer_advance(&p, 1000);
    check_fates(&p, 4, 4);
    peer_finish(&p);
}

/* What is sent in parts waits for the login too. */
static void parts_are_held(void) {
    peer p;
    peer_init(&p);
    p.options.hold_queue = true;
    peer_open_up(&p);
    CHECK_INT(mtws_send_part(p.ws, MTWS_TEXT, "par", 3, true, false, &p.last_id), MTWS_OK);
    CHECK_INT(mtws_send_part(p.ws, MTWS_TEXT, "ts", 2, false, true, NULL), MTWS_OK);
    peer_queue_text(&p, "two");
    peer_advance(&p, 60000);
    CHECK_STR(peer_client_said(&p), "/");
    peer_queue(&p, MTWS_TEXT, "login", 5, MTWS_FIRST);
    peer_run(&p);
    CHECK_STR(peer_client_said(&p), "text:login /");
    CHECK_INT(mtws_release_queue(p.ws), MTWS_OK);
    peer_advance(&p, 1000);
    CHECK_STR(peer_client_said(&p), "text:login text:parts text:two /");
    check_fates(&p, 3, 3);
    peer_finish(&p);
}

static void first_goes_first(void) {
    peer p;
    peer_init(&p);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    peer_queue_text(&p, "a");
    peer_queue_text(&p, "b");
    peer_start(&p);
    while (p.last_state != MTWS_STATE_CONNECTED) {
        peer_poll(&p);
    }
    peer_queue(&p, MTWS_TEXT, "login", 5, MTWS_FIRST);
    peer_queue(&p, MTWS_TEXT, "second", 6, MTWS_FIRST);
    peer_advance(&p, 1000);
    CHECK_STR(peer_client_said(&p), "text:login text:second text:a text:b /");
    check_fates(&p, 4, 4);
    /* It has room of its own, and an end. */
    p.write_budget = 0;
    unsigned count = 0;
    while (count < 5000 && peer_queue(&p, MTWS_TEXT, "x", 1, MTWS_FIRST) == MTWS_OK) {
        count++;
    }
    CHECK_RANGE(count, 10, 1000);
    CHECK_INT(peer_queue(&p, MTWS_BINARY, p.payloads.data, MTWS_FIRST_MAX, MTWS_FIRST),
              MTWS_ERR_TOO_BIG);
    CHECK_INT(peer_queue_text(&p, "still room"), MTWS_OK);
    p.write_budget = SIZE_MAX;
    peer_advance(&p, 1000);
    CHECK_UINT(p.settled, p.last_id);
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DROPPED), 0);
    peer_finish(&p);
}

/* What belonged to a connection that the program itself ended says so. */
static void dropped_by_disconnect(void) {
    static const peer_plan plans[] = {{.no_pong = true}};
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"at once", "after all its time", "parts without end"};
        if (!test_begin("%s", names[i])) continue;
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        peer_open_up(&p);
        if (i < 2) {
            peer_queue(&p, MTWS_TEXT, "a", 1, MTWS_NO_QUEUE);
            peer_queue(&p, MTWS_TEXT, "b", 1, MTWS_ONCE);
        } else {
            CHECK_INT(mtws_send_part(p.ws, MTWS_TEXT, "p", 1, true, false, &p.last_id), MTWS_OK);
        }
        peer_run(&p);
        CHECK_INT(mtws_disconnect(p.ws, 1000, NULL), MTWS_OK);
        peer_run(&p);
        if (i == 0) CHECK_INT(mtws_disconnect(p.ws, 1000, NULL), MTWS_OK);
        peer_advance(&p, 5000);
        CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
        check_fates(&p, p.last_id, 0);
        for (size_t k = 0; k < p.event_count; k++) {
            const mtws_event *event = &p.events[k].event;
            if (event->type != MTWS_EVENT_DROPPED) continue;
            CHECK_INT(event->result, MTWS_ERR_DISCONNECTED);
            CHECK_INT(event->written, i < 2);
        }
        peer_finish(&p);
        test_end();
    }
}

/* A logout leaves before the Close, although the queue is held. */
static void first_before_the_end(void) {
    static const peer_plan plans[] = {{.latency_ms = 20}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.hold_queue = true;
    peer_open_up(&p);
    peer_queue_text(&p, "held");
    peer_queue(&p, MTWS_TEXT, "logout", 6, MTWS_FIRST);
    CHECK_INT(mtws_disconnect(p.ws, 1000, NULL), MTWS_OK);
    peer_advance(&p, 100);
    CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
    CHECK_STR(peer_client_said(&p), "text:logout / close:1000");
    check_fates(&p, 1, 1);
    CHECK_UINT(p.fates[2], 1);
    peer_finish(&p);
}

/* Clearing drops what has not begun to leave; while no connection is open, everything. */
static void clearing(void) {
    static const peer_plan plans[] = {{.no_pong = true}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    peer_open_up(&p);
    queue_number(&p, 0, 10, 0);
    peer_run(&p);
    p.write_budget = 5;
    queue_number(&p, 1, 100, 0);
    peer_run(&p);
    queue_number(&p, 2, 10, 0);
    queue_number(&p, 3, 10, 0);
    CHECK_INT(mtws_clear_queue(p.ws), MTWS_OK);
    p.write_budget = SIZE_MAX;
    peer_run(&p);
    CHECK_UINT(p.message_count, 2);
    check_fates(&p, 2, 0);
    CHECK_UINT(p.fates[3], 2);
    CHECK_UINT(p.fates[4], 2);
    CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_ERR_CLEARED);
    queue_number(&p, 4, 10, 0);
    peer_end(&p, MTWS_IO_ERROR);
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
    CHECK_INT(mtws_clear_queue(p.ws), MTWS_OK);
    peer_run(&p);
    check_fates(&p, 5, 0);
    CHECK_UINT(queued_messages(&p), 0);
    queue_number(&p, 5, 10, 0);
    peer_advance(&p, 5000);
    check_fates(&p, 6, 1);
    CHECK_UINT(number_of(&p, p.message_count - 1), 5);
    peer_finish(&p);
}

/* ---- messages in parts ----------------------------------------------------------------------- */

static mtws_result send_part(peer *p, const char *text, bool first, bool last, uint64_t *id) {
    mtws_result result = mtws_send_part(p->ws, MTWS_TEXT, text, strlen(text), first, last, id);
    if (result == MTWS_OK && first) {
        p->last_id++;
        CHECK_UINT(*id, p->last_id);
    }
    return result;
}

static void parts(void) {
    peer p;
    peer_init(&p);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    uint64_t id = 0, same = 0;
    CHECK_INT(send_part(&p, "x", true, false, &id), MTWS_ERR_STATE);
    CHECK_INT(send_part(&p, "x", false, false, &id), MTWS_ERR_RESET);
    peer_open_up(&p);
    peer_queue_text(&p, "before");
    CHECK_INT(send_part(&p, "one ", true, false, &id), MTWS_OK);
    peer_queue_text(&p, "behind");
    peer_advance(&p, 1000);
    CHECK_UINT(p.message_count, 1);
    CHECK_INT(send_part(&p, "x", true, false, &same), MTWS_ERR_ARGUMENT);
    CHECK_INT(send_part(&p, "two \xe2\x82", false, false, &same), MTWS_OK);
    CHECK_UINT(same, id);
    CHECK_INT(send_part(&p, "\xff", false, false, &same), MTWS_ERR_UTF8);
    CHECK_INT(send_part(&p, "", false, true, &same), MTWS_ERR_UTF8);
    CHECK_INT(send_part(&p, "\xac", false, false, &same), MTWS_OK);
    peer_stream(&p, "ping:p");
    peer_advance(&p, 1000);
    CHECK_UINT(peer_count_frames(&p, WIRE_PONG), 1);
    CHECK_INT(send_part(&p, "", false, true, &same), MTWS_OK);
    CHECK_INT(send_part(&p, "x", false, true, &same), MTWS_ERR_RESET);
    peer_advance(&p, 1000);
    CHECK_STR(peer_client_said(&p), "text:before text:one%20two%20%e2%82%ac text:behind / pong:p");
    check_fates(&p, 3, 3);
    CHECK_INT(send_part(&p, "whole", true, true, &id), MTWS_OK);
    peer_advance(&p, 1000);
    check_fates(&p, 4, 4);
    /* One that broke off within a character can be ended with what completes that. */
    CHECK_INT(send_part(&p, "\xe2\x82", true, false, &id), MTWS_OK);
    CHECK_INT(mtws_send_part(p.ws, MTWS_TEXT, NULL, 0, false, true, NULL), MTWS_ERR_UTF8);
    CHECK_INT(mtws_send_part(p.ws, MTWS_TEXT, NULL, 0, false, false, NULL), MTWS_OK);
    CHECK_INT(send_part(&p, "\xac", false, true, &same), MTWS_OK);
    peer_advance(&p, 1000);
    check_fates(&p, 5, 5);
    peer_finish(&p);
}

/* A message larger than all queues, with back-pressure. */
static void parts_without_end(void) {
    peer p;
    peer_init(&p);
    p.options.max_queue_size = 1000;
    peer_open_up(&p);
    wire_buffer data = {0};
    wire_filler(&data, false, 1000);
    size_t sent = 0;
    uint64_t id;
    p.last_id = 1;
    for (int guard = 0; sent < 300 && guard < 3000; guard++) {
        mtws_result result =
            mtws_send_part(p.ws, MTWS_BINARY, data.data, data.size, sent == 0, sent == 299, &id);
        if (result == MTWS_OK) {
            sent++;
            CHECK_UINT(id, 1);
        } else {
            CHECK_INT(result, MTWS_ERR_QUEUE_FULL);
            peer_advance(&p, 1);
        }
    }
    peer_advance(&p, 1000);
    CHECK_UINT(sent, 300);
    CHECK_UINT(p.message_count, 1);
    CHECK_UINT(p.messages[0].size, 300000);
    for (size_t i = 0; i < 300; i++) {
        CHECK_MEM(p.messages_data.data + 1000 * i, data.data, 1000);
    }
    check_fates(&p, 1, 1);
    CHECK_INT(mtws_send_part(p.ws, MTWS_BINARY, data.data, MTWS_PART_MAX + 1, true, false, &id),
              MTWS_ERR_TOO_BIG);
    wire_free(&data);
    peer_finish(&p);
}

/* The connection goes: the message is DROPPED, later parts are told, the rest flows on. */
static void parts_die(void) {
    static const peer_plan plans[] = {{0}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    peer_open_up(&p);
    uint64_t id = 0;
    CHECK_INT(send_part(&p, "one ", true, false, &id), MTWS_OK);
    peer_queue_text(&p, "behind");
    peer_advance(&p, 1000);
    peer_end(&p, MTWS_IO_ERROR);
    peer_run(&p);
    CHECK_INT(send_part(&p, "two", false, false, &id), MTWS_ERR_RESET);
    peer_advance(&p, 5000);
    CHECK_INT(send_part(&p, "three", false, true, &id), MTWS_ERR_RESET);
    CHECK_STR(peer_client_said(&p), "text:behind /");
    check_fates(&p, 2, 1);
    CHECK_INT(send_part(&p, "anew", true, true, &id), MTWS_OK);
    peer_advance(&p, 1000);
    check_fates(&p, 3, 2);
    peer_finish(&p);
}

/* ---- how much work it is --------------------------------------------------------------------- */

static void many_messages_one_write(void) {
    peer p;
    peer_init(&p);
    peer_open_up(&p);
    for (int round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 1000; i++) {
            CHECK_INT(peer_queue(&p, MTWS_TEXT, "0123456789", 10, 0), MTWS_OK);
        }
        size_t before = p.message_count;
        uint64_t writes = p.writes;
        peer_run(&p);
        CHECK_UINT(p.message_count - before, 1000);
        CHECK_TEXT(p.writes - writes <= 3, "%d: %llu writes", round,
                   (unsigned long long)(p.writes - writes));
        peer_advance(&p, 200);
    }
    peer_finish(&p);
}

/* A message comes, its echo goes: the calls of one round trip. */
static void round_trips_are_cheap(void) {
    peer p;
    peer_init(&p);
    p.echo = true;
    peer_open_up(&p);
    peer_stream(&p, "text:warm");
    peer_advance(&p, 200);
    uint64_t reads = p.reads, writes = p.writes, polls = p.polls;
    for (int i = 0; i < 100; i++) {
        peer_stream(&p, "text:hello");
        peer_run(&p);
    }
    CHECK_UINT(p.message_count, 101);
    CHECK_TEXT(p.writes - writes <= 100, "%llu writes", (unsigned long long)(p.writes - writes));
    CHECK_TEXT(p.reads - reads <= 400, "%llu reads", (unsigned long long)(p.reads - reads));
    CHECK_TEXT(p.polls - polls <= 200, "%llu polls", (unsigned long long)(p.polls - polls));
    peer_finish(&p);
}

/* Many messages in one read are handed out without reading between them. */
static void many_messages_one_read(void) {
    peer p;
    peer_init(&p);
    p.options.max_message_size = 65536;
    peer_open_up(&p);
    wire_buffer stream = {0};
    for (int i = 0; i < 500; i++) {
        wire_stream(&stream, "text:0123456789");
    }
    peer_send(&p, stream.data, stream.size);
    uint64_t reads = p.reads;
    peer_run(&p);
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 500);
    CHECK_TEXT(p.reads - reads <= 12, "%llu reads", (unsigned long long)(p.reads - reads));
    wire_free(&stream);
    peer_finish(&p);
}

/* One block is taken by mtws_create and given back by mtws_destroy; nothing else ever. */
static void one_allocation(void) {
    memset(&memory, 0, sizeof memory);
    peer p;
    static const peer_plan plans[] = {{.die_at = 5000}, {.open_result = MTWS_ERR_CONNECT}, {0}};
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.echo = true;
    p.options.max_reconnect_attempts = MTWS_UNLIMITED;
    size_t needed = mtws_memory_required(&p.options);
    peer_start(&p);
    for (unsigned i = 0; i < 100; i++) {
        queue_number(&p, i, 100 + i, 0);
        peer_advance(&p, 100);
        if (p.last_state == MTWS_STATE_CONNECTED && p.plan == &plans[2]) {
            peer_stream(&p, "text-=1000 ping:x cont=5000 bin=70000");
        }
    }
    CHECK_UINT(memory.allocations, 1);
    CHECK_UINT(memory.size, needed);
    CHECK_UINT(memory.frees, 0);
    peer_finish(&p);
    CHECK_UINT(memory.frees, 1);
}

/* Where the transport's bytes were put, so that a copy can be seen. */
static struct {
    uint8_t *to;
    ptrdiff_t size;
} last_read;

static ptrdiff_t watched_read(void *context, void *out, size_t capacity) {
    ptrdiff_t got = peer_read(context, out, capacity);
    if (got > 0) {
        last_read.to = (uint8_t *)out;
        last_read.size = got;
    }
    return got;
}

static void look_at_data(peer *p, const mtws_event *event) {
    if (event->type == MTWS_EVENT_MESSAGE) {
        CHECK(event->data >= memory.block &&
              event->data + event->size < memory.block + memory.size);
        *(const uint8_t **)p->context = event->data;
    }
}

/* A message that lies whole is handed over where the transport put it. */
static void no_copy_of_what_lies_whole(void) {
    static const struct {
        const char *stream;
        size_t header;
    } rows[] = {{"text=100", 2}, {"bin=1000", 4}, {"text=60000", 4}, {"bin=65536", 10}};
    const uint8_t *data = NULL;
    peer p;
    peer_init(&p);
    p.options.transport.read = watched_read;
    p.on_event = look_at_data;
    p.context = &data;
    peer_open_up(&p);
    for (size_t i = 0; i < COUNT(rows); i++) {
        peer_stream(&p, rows[i].stream);
        peer_run(&p);
        test_context("%s", rows[i].stream);
        CHECK(data == last_read.to + rows[i].header);
    }
    test_context("%s", "");
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), COUNT(rows));
    peer_finish(&p);
}

/* What is received stays whole while the program sends, whatever it sends. */
static void send_much_on_message(peer *p, const mtws_event *event) {
    if (event->type != MTWS_EVENT_MESSAGE) {
        return;
    }
    uint64_t before = wire_hash(event->data, event->size);
    for (int i = 0; i < 20; i++) {
        peer_queue(p, event->kind, event->data, event->size, i % 2 ? MTWS_FIRST : 0);
    }
    CHECK_INT(mtws_set_header(p->ws, "X-Last", "something"), MTWS_OK);
    CHECK_INT(mtws_clear_queue(p->ws), MTWS_OK);
    mtws_wait wait;
    mtws_get_wait(p->ws, &wait);
    CHECK(wire_hash(event->data, event->size) == before);
}

static void data_stays_until_the_next_poll(void) {
    peer p;
    peer_init(&p);
    p.on_event = send_much_on_message;
    peer_open_up(&p);
    peer_stream(&p, "text=100 bin=1000 text-=100 cont=50 text");
    peer_advance(&p, 1000);
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 4);
    CHECK_UINT(p.settled, p.last_id);
    peer_finish(&p);
}

/* Bounded work: replies do not wait behind a thousand messages. */
static void replies_do_not_wait(void) {
    peer p;
    peer_init(&p);
    p.echo = true;
    p.options.max_queue_size = 16777216;
    peer_open_up(&p);
    wire_buffer stream = {0};
    for (int i = 0; i < 1000; i++) {
        wire_stream(&stream, "bin=1000");
    }
    peer_send(&p, stream.data, stream.size);
    uint64_t most = 0;
    for (int i = 0; i < 5000 && peer_count_events(&p, MTWS_EVENT_MESSAGE) < 1000; i++) {
        peer_poll(&p);
        uint64_t ahead = peer_count_events(&p, MTWS_EVENT_MESSAGE) - p.message_count;
        most = ahead > most ? ahead : most;
    }
    CHECK_RANGE(most, 1, 70);
    wire_free(&stream);
    peer_advance(&p, 1000);
    CHECK_UINT(p.message_count, 1000);
    peer_finish(&p);
}

/* ---- seeded lives ---------------------------------------------------------------------------- */

/* A long life of random sends, random chunks and random deaths; whatever happens, every message
 * ends in one event, and those that are kept arrive in order. */
static uint32_t next_random(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void random_life(uint32_t seed) {
    peer_plan plans[12];
    memset(plans, 0, sizeof plans);
    for (size_t i = 0; i < COUNT(plans) - 1; i++) {
        peer_plan *plan = &plans[i];
        uint32_t kind = next_random(&seed) % 8;
        plan->latency_ms = next_random(&seed) % 300;
        plan->open_again = (int)(next_random(&seed) % 4);
        if (kind == 0) {
            plan->open_result = MTWS_ERR_CONNECT;
        } else if (kind == 1) {
            plan->answer = "HTTP/1.1 503 Busy\r\n\r\n";
        } else if (kind < 7) {
            plan->die_at = 1 + next_random(&seed) % 6000;
            plan->die_unseen = next_random(&seed) % plan->die_at;
            plan->die_deaf = next_random(&seed) % 2 == 0;
            plan->die_with = next_random(&seed) % 2 == 0 ? MTWS_IO_EOF : MTWS_IO_ERROR;
        } else {
            plan->no_pong = true;
        }
    }
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.random = seed;
    p.options.max_reconnect_attempts = MTWS_UNLIMITED;
    p.options.max_queue_size = 1500 + next_random(&seed) % 5000;
    p.options.max_frame_size = 50 + next_random(&seed) % 500;
    p.options.heartbeat_interval_ms = 3000;
    p.options.heartbeat_timeout_ms = 1000;
    p.options.max_reconnect_delay_ms = 2000;
    p.options.connect_timeout_ms = 2000;
    size_t sizes[400];
    unsigned count = 0;
    peer_start(&p);
    for (int step = 0; step < 400 && p.bad.size == 0; step++) {
        sizes[count] = 4 + next_random(&seed) % 900;
        if (count < 399 && queue_number(&p, count, sizes[count], 0) == MTWS_OK) {
            count++;
        }
        p.write_size = next_random(&seed) % 4 == 0 ? 1 + next_random(&seed) % 100 : 0;
        p.write_pause = next_random(&seed) % 3 == 0;
        p.write_budget = next_random(&seed) % 9 == 0 ? next_random(&seed) % 500 : SIZE_MAX;
        p.read_size = next_random(&seed) % 5 == 0 ? 1 + next_random(&seed) % 50 : 0;
        if (next_random(&seed) % 7 == 0 && p.open && p.upgraded) {
            peer_stream(&p, "ping:x text:hello");
        }
        peer_advance(&p, next_random(&seed) % 200);
    }
    p.write_size = p.read_size = 0;
    p.write_pause = false;
    p.write_budget = SIZE_MAX;
    for (int i = 0; i < 60 && p.settled < count && p.bad.size == 0; i++) {
        peer_advance(&p, 5000);
    }
    CHECK_RANGE(count, 5, 400);
    check_fates(&p, count, count);
    check_arrived(&p, count);
    check_unchanged(&p, sizes);
    peer_finish(&p);
}

static void random_lives(void) {
    for (uint32_t seed = 1; seed <= 300 && !test_failing(); seed++) {
        if (!test_sampled()) continue;
        test_context("seed %u", (unsigned)seed);
        random_life(seed);
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(flows_in_order),
        TEST(send_arguments),
        TEST(text_must_be_utf8),
        TEST(data_is_copied),
        TEST_ROWS(fragments),
        TEST(control_frames_do_not_wait),
        TEST_ROWS(partial_writes),
        TEST(again_at_each_byte),
        TEST_ROWS(dies_at_each_byte),
        TEST_ROWS(dies_again_and_again),
        TEST_ROWS(at_most_once),
        TEST(at_most_once_option),
        TEST(no_range_over_settled_ones),
        TEST_ROWS(bound_to_the_connection),
        TEST(fresh_masks_each_time),
        TEST(confirmation_needs_a_pong),
        TEST(reads_and_never_answers),
        TEST(pongs_are_cumulative),
        TEST(confirmation_by_writing),
        TEST(confirmation_by_the_program),
        TEST_ROWS(confirmation_before_the_end),
        TEST(confirmation_by_heartbeats),
        TEST_ROWS(slow_servers_make_progress),
        TEST_ROWS(poison),
        TEST(poison_now_and_then),
        TEST_ROWS(queue_full),
        TEST(writable_when_it_fits),
        TEST(queue_full_of_tiny_messages),
        TEST(the_ring_goes_round),
        TEST(drop_oldest),
        TEST(an_event_each_poll),
        TEST(a_message_each_poll),
        TEST(replies_at_a_slow_rate),
        TEST(time_to_live),
        TEST(time_to_live_at_rest),
        TEST(no_expiry_on_the_wire),
        TEST(no_late_repetition),
        TEST(held_until_released),
        TEST(parts_are_held),
        TEST(first_goes_first),
        TEST_ROWS(dropped_by_disconnect),
        TEST(first_before_the_end),
        TEST(clearing),
        TEST(parts),
        TEST(parts_without_end),
        TEST(parts_die),
        TEST(many_messages_one_write),
        TEST(round_trips_are_cheap),
        TEST(many_messages_one_read),
        TEST(one_allocation),
        TEST(no_copy_of_what_lies_whole),
        TEST(data_stays_until_the_next_poll),
        TEST(replies_do_not_wait),
        TEST(random_lives),
    };
    return TEST_MAIN(tests, argc, argv);
}
