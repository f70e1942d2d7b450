/* What must hold: an independent account of every message and of every event, and the times within
 * which things have to happen.
 */
#ifndef MTWS_SIM_MODEL_H_INCLUDED
#define MTWS_SIM_MODEL_H_INCLUDED

/* ---- messages to the server ------------------------------------------------------------------ */

static message *message_of(uint64_t id)
{
    REQUIRE(id >= 1 && id <= sim.count, "unknown id", "message %llu was never sent",
            (unsigned long long)id);
    return &sim.messages[id];
}

static bool message_is_bound(const message *m)
{
    return m->queue != CLASS_MAIN || (m->flags & MTWS_NO_QUEUE) != 0;
}

static bool message_is_once(const message *m)
{
    return (m->flags & MTWS_ONCE) != 0 || sim.plan.options.at_most_once;
}

/* Bytes on the wire. */
static size_t wire_size_of(size_t size)
{
    size_t total = 0, left = size;
    do {
        size_t part = left < max_frame() ? left : max_frame();
        total += part + (part < 126 ? 6u : part < 65536 ? 8u : 14u);
        left -= part;
    } while (left > 0);
    return total;
}

/* At most as much as it may be taken for: each of its frames with the header of the largest. */
static size_t wire_size_estimate(size_t size)
{
    size_t frame = size < max_frame() ? size : max_frame();
    size_t frames = size == 0 ? 1 : (size + frame - 1) / frame;
    return size + frames * (frame < 126 ? 6u : frame < 65536 ? 8u : 14u);
}

/* The program's message was taken. */
static message *model_sent(uint64_t id, size_t size, uint8_t kind, unsigned flags, uint8_t queue)
{
    REQUIRE(id == sim.count + 1, "id", "mtws_send gave id %llu after %llu", (unsigned long long)id,
            (unsigned long long)sim.count);
    REQUIRE(sim.count < MESSAGES_MAX, "simulator", "too many messages");
    message *m = &sim.messages[++sim.count];
    memset(m, 0, sizeof *m);
    m->size = (uint32_t)size;
    m->kind = kind;
    m->flags = (uint8_t)flags;
    m->queue = queue;
    m->conn = conn_held(conn_now()) ? sim.serial : 0;
    m->sent_us = sim.now_us;
    sim.unsettled++;
    sim.counts.messages++;
    return m;
}

/* Whether a message with MTWS_FIRST is to leave before others on this connection. */
static bool first_waits(const conn *c)
{
    bool any = false;
    uint64_t from = sim.first_waiting > 0 && sim.first_conn == c->serial ? sim.open_from : NEVER;
    for (uint64_t id = from; id <= sim.count && !any; id++) {
        const message *m = &sim.messages[id];
        any = m->queue == CLASS_FIRST && m->fate == FATE_OPEN && m->left == 0 && !m->cleared;
    }
    return any;
}

/* A message is written, and those of the queue before it were not, on this connection. */
static void model_passes(const conn *c, uint64_t id, uint64_t from)
{
    for (uint64_t i = most(from, sim.open_from); i < id && !has(T_NAMELESS); i++) {
        message *before = &sim.messages[i];
        if (before->queue == CLASS_MAIN && before->fate == FATE_OPEN) { /* or not told yet */
            before->passed_by = id;
            before->passed_conn = c->serial;
            sim.passed = least(sim.passed, i);
        }
    }
}

static void model_begun_in_order(const conn *c, uint64_t id, const message *m)
{
    const tap *t = &c->tap;
    REQUIRE(m->queue == CLASS_FIRST || !sim.plan.options.hold_queue || c->released, "held queue",
            "message %llu left while the queue was held", (unsigned long long)id);
    if (m->queue == CLASS_MAIN) {
        REQUIRE(id > t->last_main, "order on the wire", "message %llu was written behind %llu",
                (unsigned long long)id, (unsigned long long)t->last_main);
        model_passes(c, id, t->last_main + 1);
    } else if (m->queue == CLASS_PARTS) {
        model_passes(c, id, t->last_main + 1);
    } else {
        REQUIRE(id > t->last_first, "order on the wire", "FIRST %llu was written behind %llu",
                (unsigned long long)id, (unsigned long long)t->last_first);
    }
    /* What the transport held already may go ahead of what was sent since. */
    bool locked = t->begun < c->again_until || t->begun_progress < sim.first_progress;
    const message *part = sim.last_part == 0 ? NULL : &sim.messages[sim.last_part];
    if (part != NULL && m->queue == CLASS_MAIN && sim.last_part < id && part->conn == c->serial) {
        REQUIRE(part->fate != FATE_OPEN || part->left_conn == c->serial, "parts overtaken",
                "message %llu was written ahead of %llu, whose parts were not all there",
                (unsigned long long)id, (unsigned long long)sim.last_part);
    }
    if (m->queue != CLASS_FIRST && !locked && !has(T_NAMELESS)) {
        REQUIRE(!first_waits(c), "FIRST overtaken",
                "message %llu was begun while one with MTWS_FIRST waited", (unsigned long long)id);
    }
}

/* The client begins to write a message on this connection. */
static void model_begun(conn *c, uint64_t id)
{
    tap *t = &c->tap;
    message *m = message_of(id);
    REQUIRE(m->kind == t->kind, "kind", "message %llu was written as kind %d",
            (unsigned long long)id, t->kind);
    REQUIRE(m->fate == FATE_OPEN, "settled message written",
            "message %llu was written after its fate (%d) was told", (unsigned long long)id,
            m->fate);
    REQUIRE(!message_is_bound(m) || m->conn == c->serial, "wrong connection",
            "message %llu, taken on connection %u, was written on %u", (unsigned long long)id,
            m->conn, c->serial);
    REQUIRE(!message_is_once(m) || m->left == 0, "ONCE written twice",
            "message %llu with MTWS_ONCE was begun again", (unsigned long long)id);
    model_begun_in_order(c, id, m);
    int32_t ttl_ms = or_else(sim.plan.options.queue_ttl_ms, MTWS_OFF);
    /* What the transport may hold does not expire. */
    if (ttl_ms != MTWS_OFF && m->queue == CLASS_MAIN && !c->again_before) {
        uint64_t begun_us = least(t->begun_us, t->begun < c->again_until ? c->again_us : NEVER);
        REQUIRE(begun_us <= m->sent_us + (uint64_t)ttl_ms * 1000, "expired message written",
                "message %llu, sent at %llu, was begun at %llu, beyond its %d ms",
                (unsigned long long)id, (unsigned long long)m->sent_us,
                (unsigned long long)begun_us, ttl_ms);
    }
    if (m->queue == CLASS_MAIN) {
        t->last_main = id;
    } else if (m->queue == CLASS_FIRST) {
        t->last_first = id;
    }
}

/* A message is wholly written, with the offset behind it. */
static void model_left(conn *c, uint64_t id, uint64_t end)
{
    const tap *t = &c->tap;
    message *m = message_of(id);
    REQUIRE(t->message_size == m->size, "size", "message %llu has %u bytes, %llu were written",
            (unsigned long long)id, m->size, (unsigned long long)t->message_size);
    if (m->left > 0) {
        sim.counts.resent++;
        sim.resent++;
        sim.suspects += memcmp(m->key, t->message_key, 4) == 0;
    }
    memcpy(m->key, t->message_key, 4);
    m->left++;
    m->left_conn = c->serial;
    m->left_end = end;
    if (m->queue == CLASS_FIRST && sim.first_waiting > 0) {
        sim.first_waiting--;
    }
    trace(TRACE_TAP_MESSAGE, id, c->serial, end);
}

/* The server has a message whole. */
static void model_received(const conn *c, uint64_t id)
{
    message *m = message_of(id);
    m->received++;
    trace(TRACE_SERVER_TAKES, id, c->serial, 0);
    REQUIRE(m->fate != FATE_DROPPED || m->written, "dropped but received",
            "message %llu was DROPPED as not written, and has come to the server",
            (unsigned long long)id);
    if (message_is_once(m) || message_is_bound(m)) {
        REQUIRE(m->received == 1, "received twice", "message %llu came to the server twice",
                (unsigned long long)id);
        return;
    }
    if (m->received == 1 && m->fate != FATE_DROPPED && !has(T_BY_NOBODY)) {
        REQUIRE(id > sim.first_appearance, "order at the server",
                "message %llu came first after %llu had", (unsigned long long)id,
                (unsigned long long)sim.first_appearance);
        sim.first_appearance = id;
    }
}

/* A Pong that was read confirms all that ends before `end`, and perhaps did so up to `before`. */
static void model_confirmed(conn *c, uint64_t before, uint64_t end)
{
    bool news = false;
    for (uint64_t id = sim.open_from; id <= sim.count && !news; id++) {
        const message *m = &sim.messages[id];
        news = m->fate == FATE_OPEN && m->queue == CLASS_MAIN && m->left_conn == c->serial
               && m->left_end > before && m->left_end <= end;
    }
    c->confirmed_end = most(c->confirmed_end, end);
    c->confirms += news;
}

static void model_settle(uint64_t id, uint8_t fate)
{
    message *m = message_of(id);
    m->fate = fate;
    sim.unsettled--;
    if (m->queue == CLASS_FIRST && m->left == 0 && sim.first_conn == m->conn
        && sim.first_waiting > 0) {
        sim.first_waiting--;
    }
    while (sim.open_from <= sim.count && sim.messages[sim.open_from].fate != FATE_OPEN) {
        sim.open_from++;
    }
}

static void model_delivered_one(uint64_t id)
{
    const message *m = message_of(id);
    bool nameless = m->size < NAME_SIZE;
    if (sim.plan.options.confirm == MTWS_CONFIRM_PROGRAM) {
        REQUIRE(m->by_program, "delivered unconfirmed",
                "message %llu is DELIVERED, and the program has not confirmed it",
                (unsigned long long)id);
    } else if (!nameless && sim.plan.options.confirm == MTWS_CONFIRM_NONE) {
        REQUIRE(m->left > 0, "delivered unwritten",
                "message %llu is DELIVERED, and was not wholly written", (unsigned long long)id);
    } else if (!nameless) {
        REQUIRE(m->received > 0, "delivered too early",
                "message %llu is DELIVERED, and has not come to the server",
                (unsigned long long)id);
        const conn *c = conn_of(m->left_conn);
        REQUIRE(c->serial != m->left_conn || m->left_end <= c->asked_end, "delivered unasked",
                "message %llu is DELIVERED, and no Pong that was read says so",
                (unsigned long long)id);
    }
    model_settle(id, FATE_DELIVERED);
}

/* Whether the reason for which a message was dropped can be true. */
static void model_dropped_one(uint64_t id, mtws_result result, bool written)
{
    message *m = message_of(id);
    unsigned long long n = id;
    int32_t ttl_ms = or_else(sim.plan.options.queue_ttl_ms, MTWS_OFF);
    if (m->size >= NAME_SIZE) {
        REQUIRE(written == (m->left > 0), "written",
                "message %llu is DROPPED with written %d, and was written %u times", n, written,
                m->left);
        REQUIRE(written || m->received == 0, "dropped but received",
                "message %llu is DROPPED as not written, and has come to the server", n);
    }
    if (result == MTWS_ERR_EXPIRED) {
        REQUIRE(ttl_ms != MTWS_OFF && m->queue == CLASS_MAIN, "expired",
                "message %llu can't expire", n);
        REQUIRE(sim.now_us >= m->sent_us + (uint64_t)ttl_ms * 1000, "expired",
                "message %llu expired too early", n);
    } else if (result == MTWS_ERR_CLEARED) {
        REQUIRE(m->cleared, "cleared", "message %llu was not cleared", n);
    } else if (result == MTWS_ERR_QUEUE_FULL) {
        REQUIRE(sim.plan.options.drop_oldest && m->queue == CLASS_MAIN && !written, "evicted",
                "message %llu can't be dropped for room", n);
    } else if (message_is_bound(m)) {
        REQUIRE(m->conn != sim.serial || !conn_held(conn_now()), "dropped while open",
                "message %llu is dropped (%d), and its connection is open", n, result);
    } else if (message_is_once(m)) {
        REQUIRE(written || m->strikes >= 3, "ONCE dropped unwritten",
                "message %llu with MTWS_ONCE was not written, and is dropped (%d)", n, result);
    } else {
        REQUIRE(result == MTWS_ERR_CLOSED && m->strikes >= 3, "dropped without cause",
                "message %llu is dropped (%d), after %u closes for it", n, result, m->strikes);
    }
    m->written = written;
    m->result = (int16_t)result;
    sim.dropped++;
    sim.counts.drops[-result & 31]++;
    model_settle(id, FATE_DROPPED);
}

static void model_settled(const mtws_event *e)
{
    bool delivered = e->type == MTWS_EVENT_DELIVERED;
    REQUIRE(e->first_id >= 1 && e->first_id <= e->id && e->id <= sim.count, "range",
            "an event of messages %llu to %llu, of %llu", (unsigned long long)e->first_id,
            (unsigned long long)e->id, (unsigned long long)sim.count);
    REQUIRE(delivered || e->result < 0, "result", "DROPPED with result %d", e->result);
    for (uint64_t id = e->first_id; id <= e->id; id++) {
        REQUIRE(sim.messages[id].fate == FATE_OPEN, "settled twice",
                "message %llu of %llu to %llu is settled a second time", (unsigned long long)id,
                (unsigned long long)e->first_id, (unsigned long long)e->id);
        if (delivered) {
            model_delivered_one(id);
        } else {
            model_dropped_one(id, e->result, e->written);
        }
    }
}

/* ---- messages from the server ---------------------------------------------------------------- */

static void model_message(const mtws_event *e)
{
    const conn *c = conn_now();
    REQUIRE(!sim.paused, "paused", "a message was handed over while the program is paused");
    REQUIRE(sim.state == MTWS_STATE_CONNECTED, "message", "a message in state %d", sim.state);
    REQUIRE(has(T_STREAM) || (e->first && e->last), "part", "a part, and nobody asked for parts");
    REQUIRE(has(T_STREAM) || e->data[e->size] == 0, "terminator", "no 0 behind a message");
    if (c->garbage) {
        sim.push_count = 0;
        return;
    }
    REQUIRE(sim.push_count > 0, "unknown message", "a message that the server did not send");
    push *p = &sim.pushes[sim.push_head];
    REQUIRE(e->kind == (mtws_kind)p->kind, "kind", "message %u from the server: kind %d", p->number,
            e->kind);
    REQUIRE(e->first == (sim.part_size == 0 && !sim.part_begun), "first",
            "message %u from the server: first is %d at byte %llu", p->number, e->first,
            (unsigned long long)sim.part_size);
    REQUIRE(e->size <= p->size - sim.part_size, "size",
            "message %u from the server: %zu bytes at %llu of %u", p->number, e->size,
            (unsigned long long)sim.part_size, p->size);
    if (!p->broken) {
        REQUIRE(content_same(e->data, p->number, p->kind, p->size, sim.part_size, e->size),
                "content", "message %u from the server is not what it sent, at byte %llu of %u",
                p->number, (unsigned long long)sim.part_size, p->size);
    }
    sim.handed_us = sim.now_us;
    sim.handed++;
    sim.part_size += e->size;
    sim.part_begun = !e->last;
    if (!e->last) {
        return;
    }
    REQUIRE(!p->broken && sim.part_size == p->size, "broken message",
            "message %u from the server was handed over as whole, with %llu bytes of %u", p->number,
            (unsigned long long)sim.part_size, p->size);
    REQUIRE(p->end <= c->in.taken, "message", "message %u was handed over before it was read",
            p->number);
    sim.part_size = 0;
    sim.push_head = (sim.push_head + 1) % IN_ITEMS_MAX;
    sim.push_count--;
    sim.pushes_whole++;
}

/* A connection ended by itself: all that was read of it must have been handed over before. */
static void model_all_handed_over(const conn *c)
{
    bool excused = c->garbage || sim.stop_asked || sim.plan.options.stream_messages;
    if (excused || sim.push_count == 0) {
        return;
    }
    const push *p = &sim.pushes[sim.push_head];
    REQUIRE(p->broken || p->end > c->in.taken, "message lost",
            "message %u from the server was read, and never handed over", p->number);
}

/* ---- states ---------------------------------------------------------------------------------- */

static void model_secret(const char *text, const char *where)
{
    const char *basic = strchr(sim.attempt_authorization, ' ');
    REQUIRE(strstr(text, "S3cr") == NULL, "secret", "a secret in %s: %s", where, text);
    REQUIRE(basic == NULL || strstr(text, basic + 1) == NULL, "secret", "credentials in %s: %s",
            where, text);
}

/* Whether this failure ends the attempts, is retried at the maximum delay, or waits a full one. */
static void model_judge(const mtws_event *e, bool *final, bool *stubborn, bool *full)
{
    bool open = e->previous == MTWS_STATE_CONNECTED;
    uint16_t http = e->http_status, code = e->close_code;
    *final = *stubborn = *full = false;
    if (e->result == MTWS_ERR_HTTP_STATUS) {
        bool passing = http == 408 || http == 425 || http == 429 || http >= 500;
        *final = http == 401 || http == 403 || http == 410 || (!passing && !sim.ever_opened);
        *stubborn = !passing;
    } else if (e->result == MTWS_ERR_CLOSED) {
        *final = code == 1010;
        *stubborn = code == 1002 || code == 1003 || (code >= 1007 && code <= 1009);
        *full = code == 1012 || code == 1013;
    } else if (e->result == MTWS_ERR_TLS_TRUST || e->result == MTWS_ERR_TLS_NAME) {
        *stubborn = !open;
        *final = *stubborn && !sim.ever_opened;
    } else if (!open && (e->result == MTWS_ERR_HANDSHAKE || e->result == MTWS_ERR_TOO_BIG)) {
        *stubborn = true;
        *final = !sim.ever_opened;
    }
}

/* The largest delay of the n-th round. */
static uint64_t model_cap_ms(uint32_t round)
{
    const mtws_options *o = &sim.plan.options;
    double cap = or_else(o->initial_reconnect_delay_ms, 1000);
    double highest = or_else(o->max_reconnect_delay_ms, 30000);
    double factor = o->reconnect_backoff_factor == 0.0 ? 1.5 : o->reconnect_backoff_factor;
    for (; round > 0 && cap < highest && factor > 1.0; round--) {
        cap *= factor;
    }
    cap = cap > highest ? highest : cap;
    return cap < 250.0 ? 250 : (uint64_t)cap;
}

static void model_delay(const mtws_event *e)
{
    bool final, stubborn, full;
    const conn *c = conn_now();
    const mtws_options *o = &sim.plan.options;
    model_judge(&sim.failure, &final, &stubborn, &full);
    uint64_t highest = most((uint64_t)or_else(o->max_reconnect_delay_ms, 30000), 250);
    uint64_t cap = stubborn ? highest : model_cap_ms(sim.round_high);
    uint64_t least_cap = stubborn ? highest : model_cap_ms(sim.round_low);
    uint64_t high = least(3 * cap, highest);
    uint64_t least_high = least(3 * least_cap, highest);
    uint64_t low = stubborn || full ? least(least_cap, least_high - least_high / 4) : least_cap / 2;
    uint64_t spread = high - most(250, stubborn || full ? least(cap, high - high / 4) : cap / 2);
    low = most(low, 250);
    if (sim.failure.result == MTWS_ERR_HTTP_STATUS && c->retry_after) {
        int64_t ahead = c->retry_date_ms - wall_clock_ms();
        low = most(low, c->retry_low_ms);
        low = most(low, c->retry_date_ms != 0 && ahead > 1000 ? (uint64_t)ahead - 1000 : 0);
        high = most(high, c->retry_high_ms + spread);
    }
    uint64_t got = (uint64_t)e->retry_ms;
    REQUIRE(e->retry_ms >= 0 && got >= low && got <= high + 1, "delay",
            "a delay of %d ms, expected %llu to %llu (round %u to %u)", e->retry_ms,
            (unsigned long long)low, (unsigned long long)high, sim.round_low, sim.round_high);
    sim.round_low++;
    sim.round_high++;
    sim.retry_us = sim.now_us + got * 1000;
}

/* The server closed as if it refused a message: the one that was alone in flight may be taken for
 * the cause. Where it can't be told which that is, each may. */
static void model_strikes(const conn *c, const mtws_event *e)
{
    uint16_t code = e->close_code;
    bool refusal = e->result == MTWS_ERR_CLOSED
                   && (code == 1003 || (code >= 1007 && code <= 1009) || code == 1011);
    bool unsure = c->again || c->again_before || c->tap.in_message || c->tap.head_size > 0
                  || c->answer_unsure || sim.paused || has(T_NAMELESS) || has(T_BY_PROGRAM);
    message *alone = NULL;
    uint32_t flight = 0;
    for (uint64_t id = sim.open_from; id <= sim.count; id++) {
        message *m = &sim.messages[id];
        if (m->fate != FATE_OPEN) {
            continue;
        }
        if (m->left > 0 && m->left_conn == c->serial && m->left_end > c->asked_end) {
            flight++;
            alone = m;
        }
        m->strikes += unsure && refusal && m->queue == CLASS_MAIN;
    }
    if (!unsure && flight == 1) {
        alone->strikes = refusal ? alone->strikes + 1 : 0;
    }
}

/* What had arrived before the connection broke was read: it may say why. */
static void model_read_to_the_end(const conn *c, const mtws_event *e)
{
    bool blocked = sim.paused || has(T_AGAIN_READ) || has(T_EINTR) || c->garbage || c->bad
                   || sim.stop_asked || c->close_read;
    uint64_t there = c->reset ? c->reset_arrived : c->in.arrived;
    REQUIRE(e->result != MTWS_ERR_RESET || blocked || c->reset_lossy || there <= c->in.taken,
            "unread", "%llu bytes were there when the connection broke, and were not read",
            (unsigned long long)(there - c->in.taken));
}

/* A connection, or an attempt at one, has failed. */
static void model_error(const mtws_event *e)
{
    conn *c = conn_now();
    bool open = e->previous == MTWS_STATE_CONNECTED;
    sim.counts.results[-e->result & 31]++;
    REQUIRE(e->result < 0, "result", "ERROR with result %d", e->result);
    REQUIRE(!conn_held(c), "not closed", "ERROR, and the transport is open");
    if (e->result == MTWS_ERR_ENTROPY) {
        REQUIRE(!open && has(T_ENTROPY), "result", "ENTROPY without cause");
        sim.attempt_low++;
        sim.attempt_high++;
    } else if (e->result == MTWS_ERR_OFFLINE) {
        REQUIRE(!open && is_offline(), "result", "OFFLINE without cause");
        sim.attempt_high++; /* it may have ended before it opened anything */
    } else {
        uint32_t bits = open || c->attempt == sim.attempts ? c->allowed : 0u;
        bits |= open ? 0u : sim.attempt_allowed;
        REQUIRE((bits >> -e->result & 1) != 0, "result", "ERROR with result %d (%s) without cause",
                e->result, e->reason);
    }
    if (e->result == MTWS_ERR_HTTP_STATUS) {
        REQUIRE(e->http_status == c->http_status, "status", "status %u, the server said %u",
                e->http_status, c->http_status);
    }
    if (e->result == MTWS_ERR_CLOSED && !c->garbage) {
        REQUIRE(e->close_code == c->close_code, "close code", "close code %u, the server said %u",
                e->close_code, c->close_code);
    }
    if (e->result == MTWS_ERR_HEARTBEAT && c->asked_count > 0 && !has(T_JSON_BEAT)) {
        REQUIRE(sim.now_us >= c->pings_asked[0].us + timeout_us(), "given up too early",
                "no answer after %llu us", (unsigned long long)(sim.now_us - c->pings_asked[0].us));
    }
    if (open) {
        model_strikes(c, e);
        model_read_to_the_end(c, e);
    }
    if (open) {
        model_all_handed_over(c);
        uint64_t stable = option_us(sim.plan.options.stable_ms, 30000);
        if (sim.now_us - c->opened_read_us >= stable) {
            bool long_ago = sim.now_us - c->opened_us >= stable;
            bool sure = long_ago && (!heartbeats() || (c->answered && !c->answer_unsure));
            bool never = heartbeats() && !c->answered && !c->answer_unsure;
            sim.round_low = never ? sim.round_low : 0;
            sim.round_high = sure ? 0 : sim.round_high;
            sim.attempt_low = never ? sim.attempt_low : 0;
            sim.attempt_high = sure ? 0 : sim.attempt_high;
        }
    }
    REQUIRE(e->attempt >= sim.attempt_low && e->attempt <= sim.attempt_high, "attempt",
            "attempt %d, expected %d to %d", e->attempt, sim.attempt_low, sim.attempt_high);
    sim.in_vain = e->previous == MTWS_STATE_RECONNECTING;
    sim.failure = *e;
    snprintf(sim.failure_reason, sizeof sim.failure_reason, "%s", e->reason);
    sim.failures++;
    sim.failures_quiet += sim.quiet;
}

/* What follows an ERROR. */
static void model_after_error(const mtws_event *e)
{
    bool final, stubborn, full;
    int32_t attempts = or_else(sim.plan.options.max_reconnect_attempts, 10);
    model_judge(&sim.failure, &final, &stubborn, &full);
    REQUIRE(e->result == sim.failure.result || sim.stop_asked, "result changed",
            "result %d after ERROR with %d", e->result, sim.failure.result);
    REQUIRE(strcmp(e->reason, sim.failure_reason) == 0 || sim.stop_asked, "reason changed",
            "reason \"%s\" after \"%s\"", e->reason, sim.failure_reason);
    bool offline = is_offline() && attempts != MTWS_OFF && !final;
    sim.unopened += sim.in_vain && !offline;
    mtws_state expected = offline ? MTWS_STATE_WAITING_FOR_NETWORK : MTWS_STATE_RECONNECTING;
    bool used_up = attempts >= 0 && sim.unopened >= attempts;
    if (attempts == MTWS_OFF) {
        bool clean = sim.failure.result == MTWS_ERR_CLOSED && !final;
        expected = clean ? MTWS_STATE_DISCONNECTED : MTWS_STATE_FAILED;
    } else if (final || used_up) {
        expected = MTWS_STATE_FAILED;
    }
    if (sim.stop_asked) {
        expected = MTWS_STATE_DISCONNECTED;
    }
    REQUIRE(e->state == expected, "state after ERROR", "state %d after ERROR %d (%s), expected %d",
            e->state, sim.failure.result, sim.failure_reason, expected);
}

/* What the request of an attempt that begins now has to say. */
static void attempt_texts(void)
{
    memcpy(sim.attempt_target, sim.target, sizeof sim.target);
    memcpy(sim.attempt_host, sim.host_field, sizeof sim.host_field);
    memcpy(sim.attempt_authorization, sim.authorization, sizeof sim.authorization);
    memcpy(sim.target_secret, sim.secret, sizeof sim.secret);
    memcpy(sim.open_host, sim.host, sizeof sim.host);
    sim.open_port = sim.port;
}

/* An attempt begins: not before its time. */
static void attempt_starts(void)
{
    REQUIRE(sim.retry_asked || sim.retry_us == NEVER || sim.now_us + 1000 >= sim.retry_us, "early",
            "an attempt %llu us before its time", (unsigned long long)(sim.retry_us - sim.now_us));
    REQUIRE(!sim.stop_asked, "stop", "an attempt after mtws_disconnect");
    REQUIRE(sim.state == MTWS_STATE_CONNECTING || sim.state == MTWS_STATE_RECONNECTING, "attempt",
            "an attempt in state %d", sim.state);
    sim.retry_asked = false;
    sim.attempts++;
    sim.attempt_low++;
    sim.attempt_high++;
    sim.attempt_us = sim.now_us;
    sim.attempt_allowed = 0;
    if (sim.state != MTWS_STATE_CONNECTING) {
        attempt_texts();
    }
}

static bool model_legal(mtws_state from, mtws_state to)
{
    static const uint8_t legal[7][7] = {
        /* to: disconnected, connecting, connected, reconnecting, waiting, error, failed */
        {0, 1, 0, 0, 0, 0, 0}, /* disconnected */
        {1, 0, 1, 0, 0, 1, 0}, /* connecting */
        {1, 0, 0, 0, 0, 1, 0}, /* connected */
        {1, 0, 1, 0, 1, 1, 0}, /* reconnecting */
        {1, 0, 0, 1, 0, 0, 0}, /* waiting_for_network */
        {1, 0, 0, 1, 1, 0, 1}, /* error */
        {1, 1, 0, 1, 0, 0, 0}, /* failed */
    };
    return (unsigned)from < 7 && (unsigned)to < 7 && legal[from][to] != 0;
}

enum { OVERTIME_US = 1000000 }; /* of mtws_disconnect, where messages keep coming */

/* A graceful end must be one; what the server is able to spoil is excused. */
static void model_stopped(const mtws_event *e)
{
    conn *c = conn_now();
    bool was_open = e->previous == MTWS_STATE_CONNECTED;
    REQUIRE(!conn_held(c), "not closed", "DISCONNECTED, and the transport is open");
    if (e->previous == MTWS_STATE_ERROR) {
        return;
    }
    REQUIRE(sim.stop_asked, "disconnected", "DISCONNECTED, and nobody asked for it");
    if (was_open && e->result != MTWS_OK) {
        /* The answer was not read: behind messages that the program did not take, or not in time. */
        bool flood = c->in.taken < c->in.arrived
                     && sim.now_us >= sim.stop_us + close_timeout_us() + OVERTIME_US;
        bool unseen = (sim.paused || flood) && e->result == MTWS_ERR_TIMEOUT;
        REQUIRE(unseen || allowed(c, e->result), "result",
                "DISCONNECTED with result %d (%s) without cause", e->result, e->reason);
    }
}

/* No attempts meanwhile. */
static void model_waiting(const mtws_event *e)
{
    REQUIRE(is_offline(), "offline",
            "WAITING_FOR_NETWORK, and it is not certain that there is none");
    REQUIRE(!conn_held(conn_now()), "not closed", "WAITING_FOR_NETWORK, and the transport is open");
    REQUIRE(e->previous == MTWS_STATE_ERROR || e->result == MTWS_ERR_OFFLINE, "offline",
            "WAITING_FOR_NETWORK with result %d", e->result);
    sim.retry_us = NEVER;
    sim.online_us = NEVER;
}

/* The next attempt is announced. */
static void model_reconnecting(const mtws_event *e)
{
    if (e->previous == MTWS_STATE_ERROR) {
        model_delay(e);
        return;
    }
    REQUIRE(e->retry_ms == 0, "delay", "a delay of %d ms out of state %d", e->retry_ms,
            e->previous);
    sim.round_low = sim.round_high = 0;
    sim.retry_us = sim.now_us;
    if (e->previous == MTWS_STATE_FAILED) {
        sim.unopened = 0;
        sim.attempt_low = sim.attempt_high = 0;
    } else {
        REQUIRE(!is_offline() || sim.retry_asked, "offline",
                "attempts go on, and there is no network");
    }
}

static void model_connected(conn *c)
{
    REQUIRE(conn_held(c) && c->opened_us == NEVER, "connected",
            "CONNECTED without an answer to the upgrade");
    REQUIRE(strcmp(mtws_get_subprotocol(sim.ws), c->chosen) == 0, "subprotocol",
            "subprotocol \"%s\", the server chose \"%s\"", mtws_get_subprotocol(sim.ws), c->chosen);
    REQUIRE(mtws_get_header(sim.ws, "sec-websocket-ACCEPT") != NULL, "header",
            "mtws_get_header does not find Sec-WebSocket-Accept");
    c->opened_us = sim.now_us;
    sim.ever_opened = true;
    sim.unopened = 0;
    sim.connects++;
    sim.counts.opened++;
    sim.retry_us = NEVER;
}

static void model_state(const mtws_event *e)
{
    trace(TRACE_EVENT_STATE, e->previous, e->state, (uint64_t)(int64_t)e->result);
    trace(TRACE_EVENT_STATE_MORE, e->close_code, e->http_status, (uint64_t)(int64_t)e->retry_ms);
    REQUIRE(e->previous == sim.state, "previous", "previous is %d, and the state was %d",
            e->previous, sim.state);
    REQUIRE(model_legal(e->previous, e->state), "transition", "from state %d to %d", e->previous,
            e->state);
    model_secret(e->reason, "a reason");
    if (sim.stop_asked) {
        bool last = e->state == MTWS_STATE_DISCONNECTED;
        REQUIRE(last || (e->state == MTWS_STATE_ERROR && !sim.stopped_error), "stop",
                "state %d after mtws_disconnect", e->state);
        sim.stopped_error = true;
    }
    sim.counts.states[e->state]++;
    sim.state = e->state;
    sim.attempting = sim.attempting && e->state == MTWS_STATE_CONNECTING;
    sim.part_begun = false;
    sim.part_size = 0;
    if (e->previous == MTWS_STATE_ERROR) {
        model_after_error(e);
    }
    switch (e->state) {
    case MTWS_STATE_CONNECTING:
        REQUIRE(sim.connect_asked, "stop", "CONNECTING, and mtws_disconnect was called");
        sim.connect_asked = false;
        attempt_texts();
        sim.ever_opened = false;
        sim.round_low = sim.round_high = 0;
        sim.unopened = 0;
        sim.attempt_low = sim.attempt_high = 0; /* it begins behind this event */
        sim.retry_us = NEVER;
        break;
    case MTWS_STATE_CONNECTED: model_connected(conn_now()); break;
    case MTWS_STATE_RECONNECTING: model_reconnecting(e); break;
    case MTWS_STATE_WAITING_FOR_NETWORK: model_waiting(e); break;
    case MTWS_STATE_ERROR: model_error(e); break;
    case MTWS_STATE_DISCONNECTED: model_stopped(e); break;
    default: break;
    }
}

/* Any event. */
static void model_event(const mtws_event *e)
{
    REQUIRE((unsigned)e->type < 8, "event", "an event of type %d", e->type);
    REQUIRE(e->reason != NULL && e->data != NULL, "event", "a pointer is NULL");
    REQUIRE(e->state == mtws_get_state(sim.ws), "event", "state %d in an event, %d outside",
            e->state, mtws_get_state(sim.ws));
    sim.counts.events[e->type]++;
    sim.progress++;
    if (e->type != MTWS_EVENT_STATE) {
        REQUIRE(e->state == sim.state, "event", "state %d without an event of it", e->state);
    }
    switch (e->type) {
    case MTWS_EVENT_STATE: model_state(e); break;
    case MTWS_EVENT_MESSAGE:
        trace(TRACE_EVENT_MESSAGE, e->kind, e->size, (unsigned)e->first << 1 | (unsigned)e->last);
        model_message(e);
        break;
    case MTWS_EVENT_DELIVERED:
        trace(TRACE_EVENT_DELIVERED, e->first_id, e->id, 0);
        model_settled(e);
        break;
    case MTWS_EVENT_DROPPED:
        trace(TRACE_EVENT_DROPPED, e->first_id, e->id,
              (uint64_t)(int64_t)(e->result * 10 - (int)e->written));
        model_settled(e);
        break;
    case MTWS_EVENT_WRITABLE:
        trace(TRACE_EVENT_WRITABLE, 0, 0, 0);
        REQUIRE(sim.refused, "writable", "WRITABLE, and nothing was refused");
        sim.refused = false;
        break;
    default: violate("event", "an event of type %d", e->type);
    }
}

/* ---- at rest --------------------------------------------------------------------------------- */

static bool queue_has_open(uint32_t queue)
{
    for (uint64_t id = sim.open_from; id <= sim.count; id++) {
        if (sim.messages[id].fate == FATE_OPEN && sim.messages[id].queue == queue) {
            return true;
        }
    }
    return false;
}

/* What is queued and what is on its way, message by message. */
static void model_queues(const mtws_stats *s)
{
    const conn *c = conn_now();
    uint64_t bytes = 0, unconfirmed = 0;
    for (uint64_t id = sim.open_from; id <= sim.count; id++) {
        const message *m = &sim.messages[id];
        if (m->fate != FATE_OPEN) {
            continue;
        }
        bytes += m->queue == CLASS_MAIN ? wire_size_of(m->size) : 0;
        unconfirmed += conn_held(c) && m->left > 0 && m->left_conn == c->serial;
    }
    REQUIRE(s->queued_bytes >= bytes, "stats", "queued_bytes is %llu, of messages of %llu",
            (unsigned long long)s->queued_bytes, (unsigned long long)bytes);
    REQUIRE(s->unconfirmed_messages == unconfirmed, "stats",
            "unconfirmed_messages is %llu, expected %llu",
            (unsigned long long)s->unconfirmed_messages, (unsigned long long)unconfirmed);
}

/* Whether the client surely knows all that it has read. */
static bool model_knows(const conn *c)
{
    return conn_held(c) && c->opened_us != NEVER && !sim.paused && !c->garbage && !c->bad
           && !c->reset && !has(T_NAMELESS);
}

/* What a Pong or the program has confirmed is reported. */
static void model_reported(const conn *c)
{
    const mtws_options *o = &sim.plan.options;
    bool whole = !c->tap.in_message && !c->tap.in_payload && !c->stalled;
    if (!model_knows(c) || o->confirm == MTWS_CONFIRM_NONE) {
        return;
    }
    for (uint64_t id = sim.open_from; id <= sim.count; id++) {
        const message *m = &sim.messages[id];
        if (m->fate != FATE_OPEN) {
            continue;
        }
        REQUIRE(o->confirm != MTWS_CONFIRM_PONG || m->left_conn != c->serial
                    || m->left_end > c->confirmed_end,
                "confirmation lost", "a Pong confirmed message %llu, and nothing is reported",
                (unsigned long long)id);
        REQUIRE(!m->by_program || !whole, "confirmation lost",
                "the program confirmed message %llu, and nothing is reported",
                (unsigned long long)id);
    }
}

/* Where there is room, and nothing to wait for, messages do not wait. After a death with messages
 * not confirmed one may be under way, and twice as many with each Pong that confirms some. */
static void model_works(const conn *c)
{
    const mtws_options *o = &sim.plan.options;
    bool blocked = c->stalled || sim.now_us < c->write_blocked_us || conn_room(c) == 0;
    if (!model_knows(c) || blocked || sim.stop_asked || c->tap.closed || c->close_read
        || c->fin_arrived || (o->hold_queue && !c->released)) {
        return;
    }
    uint64_t waits = 0, flight = 0, first = 0;
    bool asks = o->confirm == MTWS_CONFIRM_PONG && o->confirm_delay_ms != MTWS_OFF;
    for (uint64_t id = sim.open_from; id <= sim.count; id++) {
        const message *m = &sim.messages[id];
        bool left = m->left > 0 && m->left_conn == c->serial;
        if (m->fate != FATE_OPEN) {
            continue;
        }
        if (m->queue != CLASS_MAIN) {
            if (!left || c->confirms == 0) {
                return; /* parts that are still to come, or a login that goes first */
            }
            continue;
        }
        first = first == 0 ? id : first;
        waits = left || waits != 0 ? waits : id;
    }
    for (uint64_t id = first; id < waits; id++) { /* one that was dropped takes its place too */
        flight += sim.messages[id].queue == CLASS_MAIN;
    }
    uint64_t window = asks ? (uint64_t)1 << least(c->confirms, 30) : NEVER;
    REQUIRE(waits == 0 || flight >= window, "idle", "message %llu waits, with %llu under way",
            (unsigned long long)waits, (unsigned long long)flight);
}

/* The client has nothing to do before something happens. */
static void model_waits(void)
{
    conn *c = conn_now();
    model_reported(c);
    model_works(c);
    if (conn_held(c) && !c->stalled && !c->tap.in_payload && c->tap.head_size == 0) {
        c->sure_end = c->out.sent;
    }
}

/* A Ping that was read is answered as soon as there is room. */
static void model_pongs(void)
{
    const conn *c = conn_now();
    bool open = conn_held(c) && c->opened_us != NEVER && !c->tap.closed && !c->close_read;
    if (open && !c->garbage && !c->bad && !sim.paused && !c->again && !c->reset
        && sim.now_us >= c->write_blocked_us
        && sim.plan.pipe_size - (c->out.sent - c->out.taken) > 0 && !has(T_NATIVE)
        && c->items_count <= OUT_ITEMS_MAX / 2) {
        REQUIRE(c->tap.last_ping >= c->ping_read, "ping unanswered",
                "Ping %llu was read, %u answered", (unsigned long long)c->ping_read,
                c->tap.last_ping);
    }
}

/* What was not written in its turn must have been settled. */
static void model_passed(void)
{
    for (uint64_t id = sim.passed; id <= sim.count && conn_held(conn_now()); id++) {
        const message *m = &sim.messages[id];
        REQUIRE(m->fate != FATE_OPEN || m->passed_conn != sim.serial, "message passed over",
                "message %llu was written, but %llu before it was not",
                (unsigned long long)m->passed_by, (unsigned long long)id);
    }
    sim.passed = NEVER;
}

/* mtws_poll said that there is nothing more now: every event has been handed over. */
static void model_at_rest(int result)
{
    bool resting = sim.state == MTWS_STATE_DISCONNECTED || sim.state == MTWS_STATE_FAILED;
    REQUIRE(result == 0 || result == MTWS_ERR_IDLE, "poll", "mtws_poll gives %d", result);
    REQUIRE((result == MTWS_ERR_IDLE) == resting, "idle", "mtws_poll gives %d in state %d", result,
            sim.state);
    REQUIRE(sim.state != MTWS_STATE_ERROR, "error stays", "nothing follows ERROR");
    REQUIRE(sim.state != MTWS_STATE_WAITING_FOR_NETWORK || !has(T_MANUAL) || sim.said_offline,
            "online", "WAITING_FOR_NETWORK, and mtws_set_network said that it is back");
    REQUIRE(!sim.stop_asked || sim.state == MTWS_STATE_CONNECTED, "stop",
            "mtws_disconnect, and the state stays %d", sim.state);
    model_passed();
    REQUIRE(!sim.refused || queue_has_open(sim.refused_queue), "writable lost",
            "a message was refused, all is settled, and no WRITABLE came");
    mtws_stats s;
    mtws_get_stats(sim.ws, &s);
    REQUIRE(s.queued_messages == sim.unsettled, "stats", "queued_messages is %llu, expected %llu",
            (unsigned long long)s.queued_messages, (unsigned long long)sim.unsettled);
    REQUIRE(s.dropped == sim.dropped, "stats", "dropped is %llu, expected %llu",
            (unsigned long long)s.dropped, (unsigned long long)sim.dropped);
    REQUIRE(s.failures == sim.failures && s.connects >= sim.connects
                && s.connects <= sim.connects + sim.unheard,
            "stats", "failures %llu and connects %llu, expected %llu and %llu",
            (unsigned long long)s.failures, (unsigned long long)s.connects,
            (unsigned long long)sim.failures, (unsigned long long)sim.connects);
    REQUIRE(s.messages_received == sim.pushes_whole || sim.garbage, "stats",
            "messages_received is %llu, expected %llu", (unsigned long long)s.messages_received,
            (unsigned long long)sim.pushes_whole);
    REQUIRE(s.bytes_sent == sim.bytes_out && s.bytes_received == sim.bytes_in, "stats",
            "%llu bytes sent and %llu received, expected %llu and %llu",
            (unsigned long long)s.bytes_sent, (unsigned long long)s.bytes_received,
            (unsigned long long)sim.bytes_out, (unsigned long long)sim.bytes_in);
    REQUIRE(s.messages_sent == sim.messages_out && s.unconfirmed_messages <= s.queued_messages,
            "stats", "messages_sent is %llu, expected %llu; %llu unconfirmed",
            (unsigned long long)s.messages_sent, (unsigned long long)sim.messages_out,
            (unsigned long long)s.unconfirmed_messages);
    if (!has(T_NAMELESS)) {
        REQUIRE(s.resent == sim.resent, "stats", "resent is %llu, expected %llu",
                (unsigned long long)s.resent, (unsigned long long)sim.resent);
        if (sim.counts.polls % 16 == 0) {
            model_queues(&s);
        }
    }
    size_t queue = sim.plan.options.max_queue_size;
    REQUIRE(s.queued_bytes <= queue + MTWS_FIRST_MAX + MTWS_PART_MAX, "stats",
            "queued_bytes is %llu", (unsigned long long)s.queued_bytes);
    REQUIRE(sim.unsettled > 0 || s.queued_bytes == 0, "stats", "nothing is queued, in %llu bytes",
            (unsigned long long)s.queued_bytes);
}

/* ---- times ----------------------------------------------------------------------------------- */

static void overdue(const char *key, uint64_t since_us, uint64_t by_us)
{
    REQUIRE(sim.now_us <= by_us, key, "%s: since %llu us, due at %llu", key,
            (unsigned long long)since_us, (unsigned long long)by_us);
}

/* A program that is always late gains time, a few times. */
static uint64_t patience(uint64_t us)
{
    return has(T_TICK) && sim.plan.tick_us > 1000000 ? 4 * (us + sim.plan.tick_us) : us;
}

/* A connection that can't answer any more must be given up. */
static void check_dead_link(const conn *c)
{
    if (c->dead_us == NEVER || !heartbeats() || sim.paused || sim.stop_asked || c->close_sent) {
        return;
    }
    uint64_t from = most(most(c->dead_us, c->opened_us), most(sim.woken_us, sim.unpaused_us));
    uint64_t by = from + patience(interval_us() + timeout_us());
    uint64_t moved_us = has(T_NATIVE) ? most(c->moved_us, c->acked_us) : c->moved_us;
    if (moved_us > c->dead_us) {
        uint64_t longest = from + patience(interval_us() + 8 * timeout_us());
        /* What leaves the kernel is looked at when the time for the Pong is over. */
        uint64_t once_more_us = has(T_NATIVE) ? timeout_us() : 0;
        by = least(most(from, moved_us) + patience(interval_us() + timeout_us() + once_more_us),
                   longest);
    }
    by += c->bad ? 250000 : 0; /* it ends otherwise, and lingers */
    by += has(T_NATIVE) ? timeout_us() / 8 : 0; /* what left before is seen so much later */
    /* A message and then another event may each take a poll before a Ping leaves. */
    overdue("dead link not noticed", from, by + 3 * lateness_us());
}

/* After a violation the client ends the connection. */
static void check_violation(const conn *c)
{
    if (c->bad_read_us == 0 || c->garbage || sim.paused || c->close_read) {
        return;
    }
    uint64_t from = most(most(c->bad_read_us, c->opened_us), most(sim.woken_us, sim.unpaused_us));
    from = most(from, sim.handed_us);
    overdue("violation not noticed", from, from + 250000 + 2 * lateness_us());
}

/* What must not wait even where there is an event for each poll. */
static void check_attempts(void)
{
    const conn *c = conn_now();
    if (sim.stop_asked) {
        return;
    }
    uint64_t slack = 2 * lateness_us();
    bool held = conn_held(c);
    if ((held && c->opened_us == NEVER) || (!held && sim.attempting)) {
        uint64_t from = most(sim.attempt_us, sim.woken_us);
        overdue("connect timeout", from, from + patience(connect_timeout_us()) + slack);
    }
    if (sim.state == MTWS_STATE_RECONNECTING && !held && !sim.attempting
        && sim.retry_us != NEVER) {
        uint64_t from = most(sim.retry_us, sim.woken_us);
        overdue("retry", from, from + slack);
    }
}

/* Everything else that has to have happened by now. Called when the program has just polled. */
static void check_times(void)
{
    const conn *c = conn_now();
    uint64_t slack = 2 * lateness_us();
    if (conn_held(c) && sim.state == MTWS_STATE_CONNECTED) {
        check_dead_link(c);
        check_violation(c);
        if (c->close_sent && c->close_read && !sim.paused) {
            uint64_t from =
                most(most(c->close_read_us, sim.woken_us), most(sim.unpaused_us, sim.handed_us));
            overdue("close timeout", from, from + patience(close_timeout_us()) + slack);
        }
    }
    if (sim.state == MTWS_STATE_WAITING_FOR_NETWORK) {
        uint64_t delay = option_us(sim.plan.options.max_reconnect_delay_ms, 30000);
        sim.online_us = is_offline() ? NEVER : least(sim.online_us, sim.now_us);
        overdue("online", sim.online_us, later(most(sim.online_us, sim.woken_us), delay + slack));
    }
    if (sim.stop_asked) {
        uint64_t from = most(sim.stop_us, sim.woken_us);
        uint64_t more = sim.handed_us > sim.stop_us ? OVERTIME_US : 0; /* messages kept coming */
        overdue("disconnect", from, from + patience(close_timeout_us()) + more + slack);
    }
    if (sim.quiet && sim.open_by_us != NEVER) {
        overdue("connected again", sim.plan.quiet_us, most(sim.open_by_us, sim.woken_us) + slack);
    }
    if (sim.quiet && sim.settle_by_us != NEVER) {
        overdue("settled", sim.plan.quiet_us, sim.settle_by_us + slack);
    }
}

#endif
