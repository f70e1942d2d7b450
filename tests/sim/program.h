/* The program that uses the client: it sends, reacts to events, makes mistakes, and in the end only
 * wants everything delivered.
 */
#ifndef MTWS_SIM_PROGRAM_H_INCLUDED
#define MTWS_SIM_PROGRAM_H_INCLUDED

enum { CONTENT_MAX = POOL_SIZE / 2 };
static uint8_t program_content[CONTENT_MAX];

/* The queue's limit for a message of this class, in bytes on the wire. */
static size_t queue_capacity(uint32_t queue)
{
    return queue == CLASS_MAIN    ? sim.plan.options.max_queue_size
           : queue == CLASS_FIRST ? (size_t)MTWS_FIRST_MAX
                                  : (size_t)MTWS_PART_MAX;
}

static void program_refused(uint32_t queue, size_t size, bool at_rest)
{
    REQUIRE(!at_rest || queue_has_open(queue), "refused",
            "a message of %zu bytes is refused, and nothing is queued", size);
    sim.refused = true;
    sim.refused_queue = queue;
    sim.refused_size = size;
    sim.refused_part = sim.part_id;
}

/* at_rest: every event has been handed over. */
static mtws_result program_send(size_t size, uint8_t kind, unsigned flags, bool at_rest)
{
    uint64_t id = 0;
    uint32_t queue = (flags & MTWS_FIRST) != 0 ? CLASS_FIRST : CLASS_MAIN;
    bool bound = (flags & (MTWS_FIRST | MTWS_NO_QUEUE)) != 0;
    mtws_stats before, after;
    if (sim.count + 8 >= MESSAGES_MAX || size > CONTENT_MAX) {
        return MTWS_ERR_ARGUMENT;
    }
    content_fill(program_content, sim.count + 1, kind, size, 0, size);
    bool waits = first_waits(conn_now()); /* others, written or not, may not be told yet */
    mtws_get_stats(sim.ws, &before);
    mtws_result result = mtws_send(sim.ws, (mtws_kind)kind, program_content, size, flags, &id);
    mtws_get_stats(sim.ws, &after);
    trace(TRACE_SEND, sim.count + 1, size, (uint64_t)kind << 8 | flags);
    trace(TRACE_SEND_RESULT, (uint64_t)(int64_t)result, queue, 0);
    bool too_big = wire_size_of(size) > queue_capacity(queue);
    bool nearly = wire_size_estimate(size) > queue_capacity(queue);
    bool closed = bound && sim.state != MTWS_STATE_CONNECTED;
    if (result == MTWS_OK) {
        REQUIRE(!sim.stop_asked && !closed && !too_big, "send", "%zu bytes were taken in state %d",
                size, sim.state);
        message *m = model_sent(id, size, kind, flags, (uint8_t)queue);
        REQUIRE(!bound || m->conn != 0, "send",
                "taken for the present connection, and there is none");
        if (queue == CLASS_FIRST) {
            sim.first_progress = waits ? sim.first_progress : sim.progress;
            sim.first_waiting++;
            sim.first_conn = sim.serial;
        }
        return result;
    }
    if (sim.stop_asked || closed) {
        REQUIRE(result == MTWS_ERR_STATE, "send", "mtws_send gives %d in state %d", result,
                sim.state);
    } else if (result == MTWS_ERR_STATE) {
        REQUIRE(bound, "send", "mtws_send gives ERR_STATE in state %d", sim.state);
    } else if (too_big || (nearly && result == MTWS_ERR_TOO_BIG)) {
        REQUIRE(result == MTWS_ERR_TOO_BIG, "send", "mtws_send gives %d to %zu bytes", result,
                size);
    } else {
        REQUIRE(result == MTWS_ERR_QUEUE_FULL, "send", "mtws_send gives %d to %zu bytes", result,
                size);
        REQUIRE(before.queued_messages == after.queued_messages, "refused",
                "a refusal changed the queue");
        program_refused(queue, size, at_rest);
    }
    return result;
}

static unsigned program_flags(void)
{
    rng *r = &sim.program;
    unsigned flags = 0;
    if (has(T_ONCE) && rng_chance(r, 30)) {
        flags |= MTWS_ONCE;
    }
    if (has(T_NO_QUEUE) && rng_chance(r, 25)) {
        flags |= MTWS_NO_QUEUE;
    }
    if (has(T_FIRST) && rng_chance(r, 25)) {
        flags |= MTWS_FIRST;
    }
    return flags;
}

static size_t program_size(void)
{
    rng *r = &sim.program;
    if (has(T_BIG) && rng_chance(r, 15)) {
        return (size_t)rng_scale(r, NAME_SIZE, sim.plan.options.max_queue_size);
    }
    if (has(T_NAMELESS) && rng_chance(r, 30)) {
        return (size_t)rng_below(r, NAME_SIZE);
    }
    return (size_t)rng_scale(r, NAME_SIZE, sim.plan.message_max);
}

static void program_send_some(bool at_rest)
{
    uint64_t count =
        has(T_BURST) && rng_chance(&sim.program, 30) ? rng_scale(&sim.program, 2, 40) : 1;
    while (count-- > 0) {
        uint8_t kind = rng_chance(&sim.program, 50) ? MTWS_TEXT : MTWS_BINARY;
        unsigned flags = program_flags();
        size_t size = program_size();
        if (program_send(size, kind, flags, at_rest) == MTWS_ERR_QUEUE_FULL) {
            break;
        }
        at_rest = false;
    }
}

/* ---- parts ----------------------------------------------------------------------------------- */

static void program_part_begin(bool at_rest)
{
    rng *r = &sim.program;
    uint64_t id = 0;
    uint32_t total = (uint32_t)rng_scale(r, NAME_SIZE, 4 * MTWS_PART_MAX);
    uint8_t kind = rng_chance(r, 50) ? MTWS_TEXT : MTWS_BINARY;
    size_t part = (size_t)rng_scale(r, 1, total);
    while (wire_size_estimate(part) > MTWS_PART_MAX) {
        part /= 2;
    }
    bool last = part == total;
    content_fill(program_content, sim.count + 1, kind, total, 0, part);
    mtws_result result =
        mtws_send_part(sim.ws, (mtws_kind)kind, program_content, part, true, last, &id);
    trace(TRACE_PART, sim.count + 1, part, 2u | (unsigned)last);
    trace(TRACE_SEND_RESULT, (uint64_t)(int64_t)result, CLASS_PARTS, 0);
    if (result == MTWS_OK) {
        const message *m = model_sent(id, total, kind, MTWS_NO_QUEUE, CLASS_PARTS);
        REQUIRE(m->conn != 0 && sim.state == MTWS_STATE_CONNECTED && !sim.stop_asked, "part",
                "a part was taken in state %d", sim.state);
        sim.last_part = id;
        sim.part_id = last ? 0 : id;
        sim.part_done = (uint32_t)part;
    } else if (result == MTWS_ERR_QUEUE_FULL) {
        program_refused(CLASS_PARTS, part, at_rest);
    } else {
        REQUIRE(result == MTWS_ERR_STATE, "part", "the first part gives %d", result);
    }
}

static void program_part_more(bool at_rest)
{
    rng *r = &sim.program;
    uint64_t id = 0;
    const message *m = message_of(sim.part_id);
    uint32_t left = m->size - sim.part_done;
    size_t part = (size_t)rng_scale(r, 1, left);
    while (wire_size_estimate(part) > MTWS_PART_MAX) {
        part /= 2;
    }
    bool last = part == left;
    content_fill(program_content, sim.part_id, m->kind, m->size, sim.part_done, part);
    mtws_result result = mtws_send_part(sim.ws, MTWS_TEXT, program_content, part, false, last, &id);
    trace(TRACE_PART, sim.part_id, part, (unsigned)last);
    trace(TRACE_SEND_RESULT, (uint64_t)(int64_t)result, CLASS_PARTS, 0);
    if (result == MTWS_OK) {
        REQUIRE(id == sim.part_id && m->fate == FATE_OPEN, "part", "a part of %llu gives id %llu",
                (unsigned long long)sim.part_id, (unsigned long long)id);
        sim.part_done += (uint32_t)part;
        sim.part_id = last ? 0 : sim.part_id;
    } else if (result == MTWS_ERR_QUEUE_FULL) {
        program_refused(CLASS_PARTS, part, at_rest);
    } else {
        REQUIRE(result == MTWS_ERR_RESET && (m->conn != sim.serial || !conn_held(conn_now())),
                "part", "a later part gives %d", result);
        sim.part_id = 0;
    }
}

static void program_part(bool at_rest)
{
    if (sim.part_id != 0) {
        program_part_more(at_rest);
    } else if (sim.count + 8 < MESSAGES_MAX) {
        program_part_begin(at_rest);
    }
}

/* ---- confirming ------------------------------------------------------------------------------ */

/* The server's program has said how far it has everything, of what has left. */
static void program_confirm(void)
{
    uint64_t upto = sim.open_from - 1;
    for (uint64_t id = sim.open_from; id <= sim.count; id++) {
        const message *m = &sim.messages[id];
        bool unknown = m->size < NAME_SIZE;
        if (m->fate == FATE_OPEN && !unknown && m->left > 0 && m->received == 0) {
            break;
        }
        upto = id;
    }
    if (upto == 0) {
        return;
    }
    for (uint64_t id = sim.open_from; id <= upto; id++) {
        message *m = &sim.messages[id];
        m->by_program = m->by_program || m->left > 0 || m->size < NAME_SIZE;
    }
    mtws_result result = mtws_confirm(sim.ws, upto);
    trace(TRACE_CONFIRM, upto, (uint64_t)(int64_t)result, 0);
    REQUIRE(result == MTWS_OK, "confirm", "mtws_confirm gives %d", result);
}

/* ---- connecting ------------------------------------------------------------------------------ */

static void program_new_url(void)
{
    unsigned n = ++sim.url_number;
    char basic[64];
    sim.port = (uint16_t)(n % 3 == 0 ? 80 : 8000 + n % 100);
    snprintf(sim.host, sizeof sim.host, "h%u.example", n);
    snprintf(sim.host_field, sizeof sim.host_field, n % 3 == 0 ? "%s" : "%s:%u", sim.host,
             (unsigned)sim.port);
    snprintf(sim.secret, sizeof sim.secret, "S3crTok%u", n);
    snprintf(sim.target, sizeof sim.target, "/p%u?token=%s&x=%u", n, sim.secret, n);
    snprintf(sim.url, sizeof sim.url, "ws://u%u:S3crPw%u@%s:%u%s", n, n, sim.host,
             (unsigned)sim.port, sim.target);
    if (n % 2 == 0) {
        snprintf(sim.authorization, sizeof sim.authorization, "Bearer S3crAuth%u", n);
        return;
    }
    snprintf(basic, sizeof basic, "u%u:S3crPw%u", n, n);
    memcpy(sim.authorization, "Basic ", 7);
    wire_base64((const uint8_t *)basic, strlen(basic), sim.authorization + 6);
}

static void program_set_authorization(void)
{
    const char *value = sim.url_number % 2 == 0 ? sim.authorization : NULL;
    mtws_result result = mtws_set_header(sim.ws, "Authorization", value);
    trace(TRACE_CALL, CALL_SET_HEADER, (uint64_t)(int64_t)result, sim.url_number);
    REQUIRE(result == MTWS_OK, "header", "mtws_set_header gives %d", result);
}

static void program_connect(void)
{
    mtws_result result = mtws_connect(sim.ws, sim.url, NULL);
    trace(TRACE_CALL, CALL_CONNECT, (uint64_t)(int64_t)result, 0);
    REQUIRE(result == MTWS_OK, "connect", "mtws_connect gives %d in state %d", result, sim.state);
    program_set_authorization();
    sim.again_us = NEVER;
    sim.stop_asked = sim.stopped_error = false;
    sim.connect_asked = true;
}

static void program_disconnect(uint16_t code, const char *reason)
{
    mtws_result result = mtws_disconnect(sim.ws, code, reason);
    trace(TRACE_CALL, CALL_DISCONNECT, (uint64_t)(int64_t)result, code);
    REQUIRE(result == MTWS_OK, "disconnect", "mtws_disconnect gives %d", result);
    sim.again_us = NEVER;
    sim.connect_asked = sim.retry_asked = false;
    if (sim.state == MTWS_STATE_DISCONNECTED) {
        sim.again_us = sim.now_us + 1000000;
        return;
    }
    conn_now()->stopped = true;
    if (!sim.stop_asked) {
        sim.stop_us = sim.now_us;
        sim.stopped_error = false;
    }
    sim.stop_asked = true;
}

/* Out of DISCONNECTED or FAILED. */
static void program_connect_again(void)
{
    if (sim.state == MTWS_STATE_FAILED && rng_chance(&sim.program, 50)) {
        mtws_result result = mtws_retry_now(sim.ws);
        trace(TRACE_CALL, CALL_RETRY, (uint64_t)(int64_t)result, 0);
        REQUIRE(result == MTWS_OK, "retry", "mtws_retry_now gives %d in FAILED", result);
        sim.retry_asked = true;
        sim.again_us = NEVER;
        return;
    }
    program_connect();
    if (has(T_DISCONNECT) && !sim.quiet && rng_chance(&sim.program, 10)) {
        program_disconnect(0, NULL); /* it changes its mind */
    }
}

static void program_release(void)
{
    mtws_result result = mtws_release_queue(sim.ws);
    trace(TRACE_CALL, CALL_RELEASE, (uint64_t)(int64_t)result, 0);
    REQUIRE((result == MTWS_OK) == (sim.state == MTWS_STATE_CONNECTED), "release",
            "mtws_release_queue gives %d in state %d", result, sim.state);
    if (result == MTWS_OK && conn_held(conn_now())) {
        conn_now()->released = true;
    }
}

static void program_pause(bool paused)
{
    mtws_set_paused(sim.ws, paused);
    trace(TRACE_CALL, CALL_PAUSE, paused, 0);
    sim.paused = paused;
    if (!paused) {
        sim.unpaused_us = sim.now_us;
    } else {
        conn_now()->answer_unsure = true;
    }
}

static void program_clear(void)
{
    for (uint64_t id = sim.open_from; id <= sim.count; id++) {
        sim.messages[id].cleared = sim.messages[id].queue != CLASS_PARTS;
    }
    mtws_result result = mtws_clear_queue(sim.ws);
    trace(TRACE_CALL, CALL_CLEAR, (uint64_t)(int64_t)result, 0);
    REQUIRE(result == MTWS_OK, "clear", "mtws_clear_queue gives %d", result);
}

/* ---- mistakes -------------------------------------------------------------------------------- */

static void program_bad_call(void)
{
    rng *r = &sim.program;
    mtws_client *ws = sim.ws;
    mtws_stats before, after;
    mtws_result got = MTWS_OK, want = MTWS_ERR_ARGUMENT;
    uint64_t which = rng_below(r, 11);
    bool resting = sim.state == MTWS_STATE_DISCONNECTED || sim.state == MTWS_STATE_FAILED;
    mtws_get_stats(ws, &before);
    switch (which) {
    case 0: got = mtws_send(ws, (mtws_kind)3, "x", 1, 0, NULL); break;
    case 1: got = mtws_send(ws, MTWS_TEXT, "x", 1, 8, NULL); break;
    case 2:
        got = mtws_send(ws, MTWS_TEXT, "\xc0\x80", 2, 0, NULL);
        want = sim.stop_asked ? MTWS_ERR_STATE : MTWS_ERR_UTF8;
        break;
    case 3: got = mtws_disconnect(ws, 1005, NULL); break;
    case 4:
        got = mtws_disconnect(ws, 1000, "\xff");
        want = MTWS_ERR_UTF8;
        break;
    case 5: got = mtws_set_header(ws, "Upgrade", "x"); break;
    case 6: got = mtws_set_header(ws, "X", "a\r\nb"); break;
    case 7:
        got = mtws_set_url(ws, "http://x/", NULL);
        want = MTWS_ERR_URL;
        break;
    case 8: got = mtws_set_url(ws, NULL, NULL); break;
    case 9:
        got = mtws_connect(ws, "ws://nowhere\n/", NULL);
        want = resting ? MTWS_ERR_URL : MTWS_ERR_STATE;
        break;
    default:
        got = mtws_confirm(ws, sim.count + 1);
        want = has(T_BY_PROGRAM) ? MTWS_ERR_ARGUMENT : MTWS_ERR_STATE;
        break;
    }
    trace(TRACE_CALL, CALL_BAD, (uint64_t)(int64_t)got, which);
    mtws_get_stats(ws, &after);
    REQUIRE(got == want, "bad call", "bad call %llu gives %d, expected %d",
            (unsigned long long)which, got, want);
    REQUIRE(before.queued_messages == after.queued_messages
                && before.queued_bytes == after.queued_bytes,
            "bad call", "bad call %llu changed the queue", (unsigned long long)which);
}

/* ---- what it does of its own accord ---------------------------------------------------------- */

static void program_act(void)
{
    rng *r = &sim.program;
    sim.action_us = sim.now_us + rng_between(r, 1, 2 * sim.plan.action_us);
    if (has(T_BY_PROGRAM) && rng_chance(r, 40)) {
        program_confirm();
    }
    if (has(T_HOLD) && rng_chance(r, 30)) {
        program_release();
    }
    if (has(T_BAD_CALLS) && rng_chance(r, 10)) {
        program_bad_call();
    }
    if (has(T_PARTS) && (sim.part_id != 0 || rng_chance(r, 25))) {
        bool among = rng_chance(r, 30); /* others */
        if (among) {
            program_send_some(true);
        }
        program_part(!among);
        if (among) {
            program_send_some(false);
        }
        return;
    }
    program_send_some(true);
}

static void program_network(bool online)
{
    mtws_result result = mtws_set_network(sim.ws, online);
    trace(TRACE_CALL, CALL_NETWORK, (uint64_t)(int64_t)result, online);
    REQUIRE(result == MTWS_OK, "network", "mtws_set_network gives %d", result);
    sim.progress++; /* it makes the client look at the connection */
    sim.said_offline = !online;
}

/* Things that programs do now and then. */
static void program_now_and_then(int trait)
{
    rng *r = &sim.streams[trait];
    if (trait == T_CLEAR) {
        program_clear();
    } else if (trait == T_PAUSE) {
        program_pause(!sim.paused);
    } else if (trait == T_DISCONNECT) {
        program_disconnect(rng_chance(r, 50) ? 0 : 4000, rng_chance(r, 50) ? NULL : "enough");
    } else if (trait == T_NEW_URL) {
        program_new_url();
        mtws_result result = mtws_set_url(sim.ws, sim.url, NULL);
        trace(TRACE_CALL, CALL_SET_URL, (uint64_t)(int64_t)result, sim.url_number);
        REQUIRE(result == MTWS_OK, "url", "mtws_set_url gives %d", result);
        program_set_authorization();
    } else if (trait == T_MANUAL) {
        program_network(sim.said_offline || sim.quiet);
    } else if (trait == T_RETRY) {
        bool may = sim.state == MTWS_STATE_RECONNECTING || sim.state == MTWS_STATE_FAILED
                   || sim.state == MTWS_STATE_WAITING_FOR_NETWORK;
        mtws_result result = mtws_retry_now(sim.ws);
        trace(TRACE_CALL, CALL_RETRY, (uint64_t)(int64_t)result, 0);
        REQUIRE(result == (may ? MTWS_OK : MTWS_ERR_STATE), "retry",
                "mtws_retry_now gives %d in state %d", result, sim.state);
        sim.retry_asked = may && !conn_held(conn_now()) && !sim.attempting;
    }
}

/* When the program does something of its own accord. */
static uint64_t next_act_us(void)
{
    uint64_t at = least(least(sim.action_us, sim.again_us), least(sim.destroy_us, sim.confirm_us));
    return most(at, sim.asleep_us);
}

/* ---- what it does about events --------------------------------------------------------------- */

static void program_on_connected(void)
{
    rng *r = &sim.program;
    if (has(T_LOGIN)) {
        program_send((size_t)rng_between(r, NAME_SIZE, 40), MTWS_TEXT, MTWS_FIRST, false);
    }
    if (has(T_HOLD) && (sim.quiet || rng_chance(r, 50))) {
        program_release();
    }
}

/* What was refused fits now: it must be taken if nothing else came between. */
static void program_on_writable(void)
{
    if (!has(T_PERSISTENT)) {
        return;
    }
    if (sim.refused_queue == CLASS_PARTS) {
        if (!sim.stop_asked) {
            program_part(false);
        }
        return;
    }
    size_t size = sim.refused_size;
    unsigned flags = sim.refused_queue == CLASS_FIRST ? MTWS_FIRST : 0u;
    mtws_result result = program_send(size, MTWS_BINARY, flags, false);
    REQUIRE(result != MTWS_ERR_QUEUE_FULL, "writable", "WRITABLE, and %zu bytes are refused again",
            size);
}

static void program_on_state(const mtws_event *e)
{
    bool resting = e->state == MTWS_STATE_FAILED || e->state == MTWS_STATE_DISCONNECTED;
    if (e->state == MTWS_STATE_CONNECTED) {
        program_on_connected();
    }
    if (e->state == MTWS_STATE_DISCONNECTED) {
        sim.stop_asked = sim.stopped_error = false;
    }
    if (resting && sim.ending == 0) {
        uint64_t wait_us = sim.quiet ? 0 : rng_scale(&sim.program, 1, 10000000);
        sim.again_us = sim.now_us + wait_us;
    }
}

static void program_on_event(const mtws_event *e)
{
    if (e->type == MTWS_EVENT_DROPPED && has(T_BY_PROGRAM) && sim.quiet) {
        sim.confirm_us = least(sim.confirm_us, sim.now_us); /* what comes behind it */
    }
    if (e->type == MTWS_EVENT_STATE) {
        program_on_state(e);
    } else if (e->type == MTWS_EVENT_WRITABLE) {
        program_on_writable();
    } else if (e->type == MTWS_EVENT_MESSAGE && has(T_ANSWER) && !sim.quiet && e->last) {
        program_send_some(false);
    } else if (e->type == MTWS_EVENT_DROPPED && has(T_ONE_POLL) && !sim.quiet) {
        program_send_some(false); /* which may drop others: an event for each poll */
    }
}

#endif
